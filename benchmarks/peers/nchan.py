"""nginx with the nchan module, as a private instance that is fed by POST requests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.peer import ROOT, Peer, Plan

MODULE_PATHS = (
    Path("/usr/lib/nginx/modules/ngx_nchan_module.so"),
    Path("/usr/lib64/nginx/modules/ngx_nchan_module.so"),
    Path("/usr/local/libexec/nginx/ngx_nchan_module.so"),
)


class NchanPeer(Peer):
    """One worker process, messages in shared memory, watchers that begin with what comes next."""

    name = "nchan"
    scenarios = frozenset({"fanout", "sustained", "runs500", "idle"})

    def missing(self) -> str | None:
        if self._nginx() is None:
            return "nginx"
        return None if self._module() else "the nchan module of nginx"

    def command(self, port: int, folder: Path) -> list[str]:
        template = Path(__file__).with_name("nchan.conf.in").read_text(encoding="utf-8")
        values = {"@MODULE@": self._module(), "@FOLDER@": folder, "@PORT@": port}
        for name, value in values.items():
            template = template.replace(name, str(value))
        config = folder / "nginx.conf"
        config.write_text(template, encoding="utf-8")
        if os.geteuid() == 0:
            folder.chmod(0o755)  # the worker gives up root and must still reach its files
        return [self._nginx() or "nginx", "-c", str(config), "-p", str(folder)]

    def start(self, port: int, plan: Plan) -> subprocess.Popen[str]:
        command = [
            *(sys.executable, "-m", "benchmarks.publish", f"http://127.0.0.1:{port}/pub/{{}}"),
            *("--streams", str(plan.streams), "--rate", str(plan.rate)),
            *("--events", str(plan.events)),
        ]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def version(self) -> str | None:
        nginx = self._nginx()
        if nginx is None:
            return None
        done = subprocess.run([nginx, "-v"], capture_output=True, text=True, timeout=10)
        return done.stderr.strip().rpartition("/")[2]

    def _nginx(self) -> str | None:
        return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

    def _module(self) -> Path | None:
        return next((path for path in MODULE_PATHS if path.exists()), None)
