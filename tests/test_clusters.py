"""The example files in experiments/clusters/: they parse, agree with each other, and name commands that exist."""

import contextlib
import json
import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import ray.autoscaler
import yaml
from ray.autoscaler._private.util import fillout_defaults, validate_config

import orchestrator.cli
from orchestrator.config_files import load_config
from orchestrator.fleet import GANG_PORTS
from orchestrator.termination import STOP_S, advice
from tests.waiting import wait_until

REPOSITORY = Path(__file__).parent.parent
CLUSTERS = REPOSITORY / "experiments" / "clusters"
CONFIG = load_config(CLUSTERS / "search.yaml", [])
FLEET = CONFIG.fleet
SEARCH = ["python", "-m", "orchestrator.cli", "search"]


def read(name: str) -> Any:
    return yaml.safe_load((CLUSTERS / name).read_text())


def check_environment(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A job with these is not killed before it has stopped."""
    assert int(variables["RAY_JOB_STOP_WAIT_TIME_S"]) >= 2 * STOP_S
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.setenv("RAY_JOB_STOP_WAIT_TIME_S", variables["RAY_JOB_STOP_WAIT_TIME_S"])
    assert advice() is None


def test_the_config_is_one_for_nodes_with_eight_gpus() -> None:
    assert FLEET.num_workers == 4
    assert FLEET.gpus_per_worker == FLEET.num_ranks == 8
    assert CONFIG.num_nodes("reignition") == FLEET.num_workers


def test_the_runtime_env_leaves_time_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = read("runtime_env.yaml")
    check_environment(environment["env_vars"], monkeypatch)
    for name in environment["excludes"]:
        assert (REPOSITORY / name).is_dir()


def test_kuberay_runs_the_documented_command_on_as_many_gpus_as_the_config_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = read("kuberay.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    command = shlex.split(spec["entrypoint"])
    assert command[:4] == SEARCH
    assert command[4].endswith(str((CLUSTERS / "search.yaml").relative_to(REPOSITORY)))
    assert command[command.index("--run") + 1].startswith("s3://")
    check_environment(yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"], monkeypatch)
    assert read("runtime_env.yaml")["env_vars"] == yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]

    cluster = spec["rayClusterSpec"]
    assert cluster["rayVersion"] == version("ray")
    assert cluster["authOptions"] == {"mode": "token"}
    head, (nodes,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert nodes["replicas"] == nodes["minReplicas"] == nodes["maxReplicas"] == FLEET.num_workers
    for group in (head, nodes):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert {"name": "RAY_process_group_cleanup_enabled", "value": "true"} in container["env"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert container["resources"]["requests"] == container["resources"]["limits"]
    resources = nodes["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert resources["nvidia.com/gpu"] == FLEET.gpus_per_worker
    assert int(resources["cpu"]) > FLEET.cpus_per_worker
    assert head["template"]["spec"]["containers"][0]["image"] == nodes["template"]["spec"]["containers"][0]["image"]
    (mounted,) = (m["mountPath"] for m in container["volumeMounts"] if m["name"] == "data")
    assert CONFIG.data.root.startswith(f"{mounted}/") and CONFIG.reignition.data.root.startswith(f"{mounted}/")


def test_the_cluster_launcher_accepts_its_file_and_starts_the_configs_nodes() -> None:
    cluster = read("ray_up.yaml")
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    assert cluster.keys() <= schema["properties"].keys()
    validate_config(fillout_defaults(cluster))
    node, head = cluster["available_node_types"]["node"], cluster["available_node_types"][cluster["head_node_type"]]
    assert node["min_workers"] == node["max_workers"] == cluster["max_workers"] == FLEET.num_workers
    assert node["resources"]["GPU"] == FLEET.gpus_per_worker
    assert node["resources"]["CPU"] > FLEET.cpus_per_worker
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    home = f"/home/{cluster['auth']['ssh_user']}"
    assert cluster["file_mounts"] == {f"{home}/spnas": ".", f"{home}/.ray/auth_token": "~/.ray/auth_token"}
    exports = " ".join(cluster["initialization_commands"])
    assert "export RAY_AUTH_MODE=token" in exports and "export RAY_process_group_cleanup_enabled=true" in exports
    assert any(
        "--autoscaling-config=~/ray_bootstrap_config.yaml" in line for line in cluster["head_start_ray_commands"]
    )
    submit = re.search(r"ray submit .*?--run \S+", (CLUSTERS / "ray_up.yaml").read_text(), re.DOTALL)
    assert submit is not None
    words = [word for word in submit.group().split() if word not in ("\\", "#")]
    assert (REPOSITORY / words[3]).samefile(CLUSTERS / "ray_up.yaml")
    assert (REPOSITORY / words[4]).samefile(REPOSITORY / "experiments" / "search.py")
    assert words[6] == "spnas/experiments/clusters/search.yaml"


def test_the_script_for_ray_submit_is_the_same_command_on_the_nodes_own_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []
    monkeypatch.setattr(orchestrator.cli, "app", given.append)
    monkeypatch.setattr(sys, "argv", ["search.py", "a.yaml", "--run", "s3://bucket/run"])
    monkeypatch.setenv("RAY_ADDRESS", "")
    monkeypatch.delenv("RAY_ADDRESS")
    runpy.run_path(str(REPOSITORY / "experiments" / "search.py"), run_name="__main__")
    assert given == [["search", "a.yaml", "--run", "s3://bucket/run"]]
    assert os.environ["RAY_ADDRESS"] == "auto"


def test_the_slurm_script_asks_for_the_configs_nodes() -> None:
    script = (CLUSTERS / "slurm.sh").read_text()
    subprocess.run(["bash", "-n", CLUSTERS / "slurm.sh"], check=True)
    asked = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)", script, re.MULTILINE))
    assert int(asked["nodes"]) == FLEET.num_workers
    assert int(asked["gpus-per-node"]) == FLEET.gpus_per_worker
    assert int(asked["cpus-per-task"]) > FLEET.cpus_per_worker
    assert asked["ntasks-per-node"] == "1"
    name, warning_s = asked["signal"].split("@")
    assert name == "B:USR1" and int(warning_s) > 2 * STOP_S
    assert " ".join([*SEARCH, "experiments/clusters/search.yaml"]) in script
    assert "export RAY_AUTH_MODE=token" in script and "export RAY_process_group_cleanup_enabled=true" in script


SLURM = """#!/bin/bash
case "$(basename "$0") $*" in
    "scontrol show"*) printf 'node1\\nnode2\\nnode3\\nnode4\\n' ;;
    *hostname*) echo 10.0.0.1 ;;
    "python -c"*) echo secret ;;
    "python -m"*)
        echo "python $* address $RAY_ADDRESS token $RAY_AUTH_TOKEN" >>"$LOG"
        [ "$ENDS" = no ] || exit 0
        trap 'echo terminated >>"$LOG"; exit 130' TERM
        echo started
        while true; do read -r -t 1 <>"$FIFO" || true; done ;;
    "ray status"*) ;;
    *) echo "$(basename "$0") $*" >>"$LOG" ;;
esac
"""


@contextlib.contextmanager
def slurm_script(folder: Path, *, ends: bool) -> "Iterator[subprocess.Popen[str]]":
    """It runs where Slurm, Ray and python are stubs that write down what they are asked."""
    commands = folder / "bin"
    commands.mkdir()
    for name in ("scontrol", "srun", "python", "ray"):
        (commands / name).write_text(SLURM)
        (commands / name).chmod(0o755)
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "activate").write_text("")
    os.mkfifo(folder / "fifo")
    environment = {
        "PATH": f"{commands}:{os.environ['PATH']}",
        "LOG": str(folder / "log"),
        "FIFO": str(folder / "fifo"),
        "ENDS": "yes" if ends else "no",
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "node[1-4]",
        "SLURM_JOB_NUM_NODES": "4",
        "SLURM_CPUS_PER_TASK": "72",
        "SLURM_GPUS_ON_NODE": "8",
    }
    script = ["bash", CLUSTERS / "slurm.sh"]
    with subprocess.Popen(
        script, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_the_slurm_script_starts_ray_on_all_nodes_and_the_driver_on_the_first(tmp_path: Path) -> None:
    with slurm_script(tmp_path, ends=True) as process:
        process.communicate()
    assert process.returncode == 0
    lines = (tmp_path / "log").read_text().splitlines()
    head, workers = (line for line in sorted(lines, key=lambda line: "--head" not in line) if line.startswith("srun"))
    options = "--num-cpus=72 --num-gpus=8 --temp-dir=/tmp/ray-7 --block"
    assert head.endswith(f"ray start --head --node-ip-address=10.0.0.1 --port=6379 {options}")
    assert workers.endswith(f"ray start --address=10.0.0.1:6379 {options}")
    assert "--nodelist=node1" in head and "--nodes=3" in workers and "--exclude=node1" in workers
    (driver,) = (line for line in lines if line.startswith("python"))
    assert driver.endswith("address 10.0.0.1:6379 token secret")
    assert not any("requeue" in line for line in lines)


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal by now."""
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = re.findall(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)
    return bool(int(mask, 16) >> (number - 1) & 1)


@pytest.mark.parametrize(("number", "is_requeued"), [(signal.SIGTERM, False), (signal.SIGUSR1, True)])
def test_the_slurm_script_hands_signals_on_and_requeues_when_the_time_is_over(
    number: signal.Signals, is_requeued: bool, tmp_path: Path
) -> None:
    with slurm_script(tmp_path, ends=False) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        wait_until(lambda: catches(process.pid, number))
        process.send_signal(number)
        process.communicate()
    assert process.returncode == 130
    lines = (tmp_path / "log").read_text().splitlines()
    assert "terminated" in lines
    assert ("scontrol requeue 7" in lines) == is_requeued


def test_the_guide_names_the_ports_that_nodes_meet_at() -> None:
    guide = (REPOSITORY / "docs" / "cluster.md").read_text()
    assert f"{GANG_PORTS.start} to {GANG_PORTS.stop - 1}" in guide
    assert f"{STOP_S:.0f} s" in guide
    for name in re.findall(r"experiments/[\w/.]+", guide):
        assert (REPOSITORY / name).exists(), name
