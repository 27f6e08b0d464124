"""Code from the documents that compat stands in for, unchanged but for what it imports."""

import ast
from typing import Any, Final

__all__ = (
    "API_CLIENT",
    "CONTEXT",
    "CUSTOM_WRITER",
    "EXECUTE_TOOL",
    "LOG_BRIDGE",
    "MESSAGE_PROCESSOR",
    "SEND",
    "STATE_MANAGER",
    "TOOL_CONFIG",
    "run",
)


def run(code: str, **names: Any) -> dict[str, Any]:
    """Run code as a module that has these names; return its names afterwards."""
    names["__name__"] = "documented"
    # Not with the flags of this module: annotations are to be what they are in the document.
    exec(compile(ast.parse(code), "<documented>", "exec", dont_inherit=True), names)
    return names


CONTEXT: Final = """
from runcast.compat.stream_writer_util import task_context

# 获取当前上下文
context = task_context.get()

# 设置上下文
task_context.set({"stream_writer": writer})
"""

SEND: Final = """
from runcast.compat.stream_writer_util import send_queue

# 发送普通内容
send_queue({"content": "Hello"}, "content")

# 发送进度更新
send_queue({"progress": 50, "status": "处理中"}, "progress")

# 发送错误信息
send_queue({"error": "处理失败"}, "error")

# 发送完成信号
send_queue({"done": True}, "done")
"""

EXECUTE_TOOL: Final = '''
import asyncio
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from runcast.compat.stream_writer_util import create_queue_task, send_queue

router = APIRouter(prefix="/api/tools", tags=["tools"])

async def execute_tool_task(tool_name: str, params: dict):
    """工具执行任务示例。"""
    try:
        # 模拟执行步骤
        for i in range(5):
            await asyncio.sleep(0.5)
            send_queue({
                "step": i + 1,
                "progress": (i + 1) * 20,
                "message": f"执行步骤 {i + 1}..."
            }, "progress")

        # 执行完成
        send_queue({"result": "success", "output": "完成"}, "done")
    except Exception as e:
        send_queue({"error": str(e)}, "error")

@router.post("/{tool_name}/execute")
async def execute_tool(tool_name: str, params: dict):
    """异步执行工具并返回流式响应。"""
    queue = create_queue_task(execute_tool_task, tool_name, params)

    async def generate_response():
        while True:
            chunk = await queue.get()
            if chunk is None:
                break
            yield chunk

    return StreamingResponse(
        generate_response(),
        media_type="text/event-stream; charset=utf-8"
    )
'''

LOG_BRIDGE: Final = '''
from runcast.compat.stream_writer_util import send_queue

class MyTool:
    def js_log_bridge(self, level: str, message: str):
        """供 JS 调用的日志桥接函数。"""
        send_queue({
            "type": level,
            "tool_name": self.name,
            "message": message
        }, "log")

    def _execute(self, params: dict) -> dict:
        """执行工具逻辑。"""
        self.js_log_bridge("info", "开始执行...")
        # ... 执行逻辑
        self.js_log_bridge("info", "执行完成")
        return {"success": True}
'''

CUSTOM_WRITER: Final = r"""
import asyncio
from runcast.compat.stream_writer_util import MyStreamWriter

async def custom_task():
    queue = asyncio.Queue()
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        loop = asyncio.get_event_loop()

    writer = MyStreamWriter(queue, loop)

    # 在深层嵌套的逻辑中调用
    writer.write("event: content\ndata: {\"message\": \"hello\"}\n\n")
    writer.write("event: done\ndata: {\"status\": \"complete\"}\n\n")
    writer.close()

    # 消费队列
    while True:
        chunk = await queue.get()
        if chunk is None:
            break
        print(chunk)
"""

TOOL_CONFIG: Final = '''
from runcast.compat.stream_writer_util import send_queue, create_queue_task

@router.post("/async_execute")
async def async_execute_tool(request: ToolExecuteRequest):
    """异步执行工具并流式返回结果。"""
    async def task():
        try:
            result = await tool_registry.execute_tool(
                request.tool_name,
                **request.parameters
            )
            send_queue({"type": "result", "data": result}, "end")
        except Exception as e:
            send_queue({"type": "error", "message": str(e)}, "error")

    queue = create_queue_task(task)

    async def generate():
        while True:
            chunk = await queue.get()
            if chunk is None:
                break
            yield chunk

    return StreamingResponse(
        generate(),
        media_type="text/event-stream; charset=utf-8"
    )
'''

API_CLIENT: Final = """
// 使用 EventSource 消费 SSE 流
const eventSource = new EventSource('/api/tools/my_tool/execute');

eventSource.onmessage = (event) => {
    const data = JSON.parse(event.data);
    console.log('Received:', data);
};

eventSource.addEventListener('progress', (event) => {
    const data = JSON.parse(event.data);
    updateProgress(data.progress);
});

eventSource.addEventListener('done', (event) => {
    const data = JSON.parse(event.data);
    console.log('Completed:', data);
    eventSource.close();
});

eventSource.addEventListener('error', (event) => {
    const data = JSON.parse(event.data);
    console.error('Error:', data);
    eventSource.close();
});
"""

MESSAGE_PROCESSOR: Final = """
class StreamMessageProcessor {
  private contentBuffer = new Map<string, string>();

  processMessage(message: BaseMessage) {
    switch (message.message_type) {
      case 'step_start':
        this.showStepStart(message as StepStartMessage);
        break;

      case 'step_progress':
        this.updateProgress(message as StepProgressMessage);
        break;

      case 'content_streaming':
        this.handleContentStream(message as ContentStreamingMessage);
        break;

      case 'tool_call':
        this.showToolCall(message as ToolCallMessage);
        break;

      case 'tool_result':
        this.showToolResult(message as ToolResultMessage);
        break;

      case 'interrupt_request':
        this.handleInterrupt(message as InterruptRequestMessage);
        break;

      case 'final_result':
        this.showFinalResult(message as FinalResultMessage);
        break;

      case 'error':
        this.showError(message as ErrorMessage);
        break;

      default:
        console.log('未处理的消息类型:', message.message_type);
    }
  }

  private handleContentStream(message: ContentStreamingMessage) {
    const key = `${message.node}_${message.agent || 'main'}`;
    const current = this.contentBuffer.get(key) || '';
    this.contentBuffer.set(key, current + message.content);

    // 实时更新UI
    this.updateContentDisplay(key, this.contentBuffer.get(key)!);
  }

  private handleInterrupt(message: InterruptRequestMessage) {
    // 显示确认对话框
    const confirmed = confirm(message.content);

    // 发送用户响应 (需要通过WebSocket或API发送)
    this.sendInterruptResponse(message.interrupt_id, confirmed);
  }
}
"""

STATE_MANAGER: Final = """
class StateManager {
  private state: AppState = {
    currentStep: '',
    progress: 0,
    activeAgents: new Set(),
    contentSections: new Map(),
    toolCalls: [],
    pendingInterrupts: new Map(),
    errors: [],
    isComplete: false
  };

  updateFromMessage(message: BaseMessage) {
    switch (message.message_type) {
      case 'step_start':
        this.state.currentStep = message.content;
        break;

      case 'step_progress':
        const progressMsg = message as StepProgressMessage;
        this.state.progress = progressMsg.progress;
        break;

      case 'content_streaming':
        const contentMsg = message as ContentStreamingMessage;
        if (contentMsg.agent) {
          this.state.activeAgents.add(contentMsg.agent);
        }
        break;

      case 'final_result':
        this.state.isComplete = true;
        break;
    }
  }
}
"""
