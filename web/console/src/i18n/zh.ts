import { zh as run } from '../run/strings';
import type { Translation } from './index';

/** What the console says in Chinese. */
export const zh: Translation = {
  ...run,

  'app.skip': '跳到正文',
  'nav.main': '主导航',
  'nav.runs': '运行',
  'nav.functions': '函数',
  'nav.api': 'API',

  'status.queued': '排队中',
  'status.running': '运行中',
  'status.waiting': '等待回答',
  'status.done': '已完成',
  'status.failed': '失败',
  'status.cancelled': '已取消',

  'link.connecting': '正在连接',
  'link.live': '实时',
  'link.idle': '已是最新',
  'link.paused': '已暂停',
  'link.reconnecting': '正在重连',
  'link.resumed': '已恢复',
  'link.lost': '有事件丢失',
  'link.reconnecting.why': '连接已断开：{why}。控制台会自动重试。',

  'theme.label': '配色',
  'theme.system': '跟随系统配色',
  'theme.light': '浅色',
  'theme.dark': '深色',
  'language.label': '语言',

  'keys.title': '键盘快捷键',
  'keys.open': '键盘快捷键',

  'common.close': '关闭',
  'common.cancel': '取消',
  'common.retry': '重试',
  'common.copy': '复制',
  'common.copied': '已复制',
  'common.loading': '加载中',
  'common.optional': '可选',
  'common.dismiss': '知道了',

  'missing.title': '没有这个页面',
  'missing.text': '地址可能不完整。',
  'missing.home': '查看运行',
};
