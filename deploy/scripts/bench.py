"""Measures a backup and a restore beside their peers. bench.sh calls it: bench.py LAGAN SAMPLE_DB."""

import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

LAGAN, SAMPLE_DB = sys.argv[1], sys.argv[2]
# Another version to compare with, in the same run.
BEFORE = os.environ.get("LAGAN_BEFORE")
MEGABYTES = int(os.environ.get("MEGABYTES", "1000"))
ROUNDS = int(os.environ.get("ROUNDS", "2"))
PASSWORD = secrets.token_hex(16)
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Database:
    def __init__(self, work, name):
        self.dir, self.port = work / name, free_port()
        self.options = ["--no-defaults", f"--socket={work}/{name}.sock", "-uroot"]
        run = dict(check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run(["mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal",
                        f"--user={os.environ.get('USER', 'root')}", f"--datadir={self.dir}"], **run)
        self.server = subprocess.Popen(
            ["mariadbd", "--no-defaults", f"--user={os.environ.get('USER', 'root')}", f"--datadir={self.dir}",
             "--bind-address=127.0.0.1", f"--port={self.port}", f"--socket={work}/{name}.sock",
             "--innodb-buffer-pool-size=2G", "--innodb-log-file-size=1G", "--max-allowed-packet=1G"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while subprocess.run(["mariadb-admin", *self.options, "ping"], capture_output=True).returncode:
            time.sleep(0.1)
        self.sql(f"CREATE USER lagan@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO lagan@'127.0.0.1'")

    def sql(self, text):
        subprocess.run(["mariadb", *self.options, "-e", text], check=True)


def measure(command, **env):
    """Wall time and CPU of a shell pipeline, and the peak memory of its largest process."""
    began = time.monotonic()
    child = subprocess.Popen(["bash", "-euo", "pipefail", "-c", command], env={**os.environ, **env},
                             stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0, command
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def cpu_of(pid):
    """CPU seconds of a process and of its ended children."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(field) for field in fields[11:15]) / TICKS


def peak_of(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def manifests(work, folder, databases):
    documents = [f"apiVersion: v1\nkind: Secret\nmetadata: {{name: repository}}\nstringData: {{RESTIC_PASSWORD: {PASSWORD}}}",
                 f"apiVersion: v1\nkind: Secret\nmetadata: {{name: account}}\nstringData: {{username: lagan, password: {PASSWORD}}}",
                 "apiVersion: lagan.dev/v1alpha1\nkind: Repository\nmetadata: {name: local}\nspec:\n"
                 f"  backend: {{storageSecretName: repository, local: {{mountPath: {folder}}}}}",
                 "apiVersion: lagan.dev/v1alpha1\nkind: BackupConfiguration\nmetadata: {name: shop}\nspec:\n"
                 "  schedule: '0 3 1 1 *'\n  task: {params: [{name: args, value: --databases shop}]}\n"
                 "  target: {ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: original}}\n"
                 "  repository: {name: local}\n  retentionPolicy: {name: keep, keepLast: 9}"]
    for name, database in databases.items():
        documents.append("apiVersion: appcatalog.appscode.com/v1alpha1\nkind: AppBinding\n"
                         f"metadata: {{name: {name}}}\nspec:\n  type: mariadb\n"
                         f"  clientConfig: {{url: 'mysql://127.0.0.1:{database.port}/'}}\n  secret: {{name: account}}")
    work.mkdir()
    (work / "all.yaml").write_text("\n---\n".join(documents) + "\n")


class Lagan:
    def __init__(self, work, databases, binary):
        work.mkdir()
        self.binary, self.repository = binary, work / "repository"
        manifests(work / "manifests", self.repository, databases)
        self.env = {**os.environ, "LAGAN_DATA_DIR": str(work / "data"), "NO_COLOR": "1"}
        log = open(work / "up.log", "w+")
        self.up = subprocess.Popen([binary, "up", "--manifests", str(work / "manifests")], env=self.env, stderr=log)
        while "ready: NATS" not in (work / "up.log").read_text():
            time.sleep(0.1)

    def measure(self, *arguments):
        pathlib.Path(f"/proc/{self.up.pid}/clear_refs").write_text("5")
        cpu, began = cpu_of(self.up.pid), time.monotonic()
        subprocess.run([self.binary, *arguments], env=self.env, check=True, capture_output=True)
        return time.monotonic() - began, cpu_of(self.up.pid) - cpu, peak_of(self.up.pid)


def main(work):
    original, copy = Database(work, "original"), Database(work, "copy")
    databases = {"original": original, "copy": copy}
    original.sql("CREATE DATABASE shop CHARACTER SET utf8mb4")
    print(f"loading a database of {MEGABYTES} MB", file=sys.stderr)
    measure(f"{SAMPLE_DB} --megabytes {MEGABYTES} --seed 1 | mariadb {' '.join(original.options)} shop")
    flags = "--databases shop --single-transaction --quick --routines --events --triggers --hex-blob --skip-dump-date"
    dump = f"mariadb-dump {' '.join(original.options)} {flags}"
    load = f"restic dump latest dumpfile.sql | mariadb {' '.join(copy.options)}"
    versions = {"lagan": Lagan(work / "lagan", databases, LAGAN)}
    if BEFORE:
        versions["lagan before"] = Lagan(work / "before", databases, BEFORE)
    restic = dict(RESTIC_PASSWORD=PASSWORD, RESTIC_REPOSITORY=str(work / "restic-repository"))
    rows = {}
    for round_ in range(ROUNDS):
        print(f"round {round_ + 1} of {ROUNDS}: backups", file=sys.stderr)
        rows.setdefault("mariadb-dump >/dev/null", []).append(measure(f"{dump} >/dev/null"))
        shutil.rmtree(work / "restic-repository", ignore_errors=True)
        subprocess.run(["restic", "init"], env={**os.environ, **restic}, check=True, stdout=subprocess.DEVNULL)
        rows.setdefault("mariadb-dump | restic backup --stdin", []).append(
            measure(f"{dump} | restic backup --quiet --stdin --stdin-filename dumpfile.sql", **restic))
        for name, lagan in versions.items():
            shutil.rmtree(lagan.repository, ignore_errors=True)
            rows.setdefault(f"{name} backup", []).append(lagan.measure("backup", "shop", "--wait"))
    for round_ in range(ROUNDS):
        print(f"round {round_ + 1} of {ROUNDS}: restores", file=sys.stderr)
        rows.setdefault("restic dump | mariadb", []).append(measure(load, **restic))
        for name, lagan in versions.items():
            copy.sql("DROP DATABASE shop")
            rows.setdefault(f"{name} restore", []).append(lagan.measure("restore", "shop", "--to", "copy", "--wait"))
        # Over existing data the snapshot is read to its end first.
        over = ["restore", "shop", "--to", "copy", "--overwrite", "--yes"]
        rows.setdefault("lagan restore --overwrite --dry-run", []).append(versions["lagan"].measure(*over, "--dry-run"))
        rows.setdefault("lagan restore --overwrite", []).append(versions["lagan"].measure(*over, "--wait"))
        copy.sql("DROP DATABASE shop")
    print(f"\n{'':38}  wall s    ratio    CPU s  peak MiB")
    floor = None
    for name, runs in rows.items():
        wall, cpu, peak = (min(run[i] for run in runs) for i in range(3))
        if floor is None or name.startswith("restic dump"):
            floor = wall
        print(f"{name:38}  {wall:6.1f}   {wall / floor:5.2f}x   {cpu:6.1f}    {peak:6.0f}")
    print(f"\nBest of {ROUNDS} rounds. CPU without the database server. Peak memory: the largest process.")
    for lagan in versions.values():
        lagan.up.send_signal(signal.SIGTERM)
        lagan.up.wait()
    for database in databases.values():
        database.server.terminate()
        database.server.wait()


if __name__ == "__main__":
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lagan-bench."))
    children = os.getpid()
    try:
        main(folder)
    finally:
        subprocess.run(["pkill", "-P", str(children)], check=False)
        shutil.rmtree(folder, ignore_errors=True)
