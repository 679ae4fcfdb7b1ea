"""Two nodes on one machine: network namespaces joined by a cable, each with a host name.

Stand-ins for `srun`, `scontrol`, `pdsh` and `ssh` start processes there. What they do of the real
ones is what a training needs; a node whose cable is cut tells them nothing, as in reality.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NODES = ("node-a", "node-b")
IS_POSSIBLE = os.geteuid() == 0 and all(shutil.which(name) for name in ("ip", "unshare", "mount"))

SHARED = """
import os, re, signal, subprocess, sys, time

def on(node, *command, **more):
    enter = "hostname $0 && mount --bind {hosts} /etc/hosts && exec \\"$@\\""
    inside = ["ip", "netns", "exec", node + "{suffix}", "unshare", "--uts", "sh", "-c", enter, node]
    return subprocess.Popen([*inside, *command], **more)

def is_connected(node):
    shown = subprocess.check_output(
        ["ip", "-n", node + "{suffix}", "link", "show", "eth0"], stderr=subprocess.DEVNULL
    )
    return re.search(b"[<,]UP[,>]", shown) is not None

def wait(tasks, *, ends_others):
    def end(*_):
        for node, task in tasks:
            if is_connected(node) and task.poll() is None:
                os.killpg(task.pid, signal.SIGTERM)
        time.sleep(1)
        for node, task in tasks:
            if is_connected(node) and task.poll() is None:
                os.killpg(task.pid, signal.SIGKILL)
        sys.exit(1)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    while True:
        codes = [task.poll() if is_connected(node) else None for node, task in tasks]
        if ends_others and any(codes):
            end()
        if None not in codes:
            sys.exit(max(map(abs, codes)))
        time.sleep(0.2)
"""
SRUN = """
n_options = next(n for n, word in enumerate(sys.argv[1:], 1) if not word.startswith("--"))
options = dict(word[2:].partition("=")[::2] for word in sys.argv[1:n_options])
nodes, per_node = os.environ["SLURM_JOB_NODELIST"].split(","), int(options["ntasks-per-node"])
assert len(nodes) == int(options["nodes"]) and len(nodes) * per_node == int(options["ntasks"])
tasks = []
for number in range(int(options["ntasks"])):
    node = nodes[number // per_node]
    given = {"SLURM_PROCID": str(number), "SLURM_LOCALID": str(number % per_node)}
    command = sys.argv[n_options:]
    tasks.append((node, on(node, *command, env=os.environ | given, start_new_session=True)))
wait(tasks, ends_others=options["kill-on-bad-exit"] == "1")
"""
SCONTROL = """
print(*sys.argv[3].split(","), sep="\\n")
"""
SSH = """
*_, node, command = [word for word in sys.argv if word not in ("-o", "-I")]
more = ["-I"] if "-I" in sys.argv else []
sys.exit(on(node, command, *more).wait())
"""
PDSH = """
nodes = sys.argv[sys.argv.index("-w") + 1].split(",")
words = sys.argv[sys.argv.index("-w") + 2:]
if words[0].startswith("pkill"):
    sys.exit()
# What ssh would not take along.
bare = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
tasks = []
for number, node in enumerate(nodes):
    line = " ".join(words).replace("%n", str(number))
    tasks.append((node, on(node, "sh", "-c", line, env=bare, start_new_session=True)))
wait(tasks, ends_others=False)
"""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class TwoNodes:
    """Two connected nodes; the programs that reach them are in `programs`.

    Args:
        folder: For the programs.
    """

    def __init__(self, folder: Path) -> None:
        self.suffix = f"-{os.getpid()}"
        self.programs = folder / "programs"
        self.programs.mkdir()
        hosts = folder / "etc-hosts"
        addresses = "".join(f"10.77.0.{n} {node}\n" for n, node in enumerate(NODES, start=1))
        hosts.write_text(f"127.0.0.1 localhost\n{addresses}")
        shared = SHARED.replace("{hosts}", str(hosts)).replace("{suffix}", self.suffix)
        for name, source in (("srun", SRUN), ("scontrol", SCONTROL), ("ssh", SSH), ("pdsh", PDSH)):
            (self.programs / name).write_text(f"#!{sys.executable}\n{shared}{source}")
            (self.programs / name).chmod(0o755)
        for node in NODES:
            _ip("netns", "add", node + self.suffix)
        first, second = (node + self.suffix for node in NODES)
        ends = (("netns", first), ("peer", "name", "eth0", "netns", second))
        _ip("link", "add", "eth0", *ends[0], "type", "veth", *ends[1])
        for n, node in enumerate((first, second), start=1):
            _ip("-n", node, "address", "add", f"10.77.0.{n}/24", "dev", "eth0")
            _ip("-n", node, "link", "set", "lo", "up")
            _ip("-n", node, "link", "set", "eth0", "up")

    def cut(self) -> None:
        """Take the second node off the network; its processes live on."""
        _ip("-n", NODES[1] + self.suffix, "link", "set", "eth0", "down")

    def mend(self) -> None:
        """Connect the second node again."""
        _ip("-n", NODES[1] + self.suffix, "link", "set", "eth0", "up")

    def remove(self) -> None:
        """Remove both."""
        for node in NODES:
            _ip("netns", "del", node + self.suffix)
