"""Network file systems, by the names Linux has for them. SQLite's locks and its shared memory do not hold there.

A write-ahead log needs memory shared by all processes of the file, and so one host. The kernel tells the type of each
mount in ``/proc/self/mountinfo``; where there is none, nothing is refused.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from casty.errors import ConfigError

MOUNTS: Final = Path("/proc/self/mountinfo")

NETWORK_TYPES: Final = frozenset(
    "nfs nfs4 cifs smb3 smbfs smb2 ncpfs ncp afs coda 9p ceph lustre glusterfs gfs gfs2 ocfs2 gpfs beegfs beegfs_nodev "
    "orangefs pvfs2 panfs davfs acfs moosefs lizardfs wekafs quobyte".split()
)
NETWORK_FUSE: Final = frozenset(
    "sshfs glusterfs ceph ceph-fuse s3fs s3ql rclone davfs davfs2 gcsfuse goofys mfs moosefs lizardfs juicefs "
    "curlftpfs smbnetfs gvfsd-fuse hdfs blobfuse blobfuse2 mount-s3 beegfs".split()
)


def refuse_network_file_system(path: Path) -> None:
    """Raise ConfigError where a file is, or would be, on a network file system."""
    kind = file_system_of(path)
    name = kind.partition(".")[2] if kind.startswith("fuse.") else kind
    if kind in NETWORK_TYPES or (kind.startswith("fuse.") and name in NETWORK_FUSE):
        raise ConfigError(
            f"{path} is on a network file system ({kind}), where SQLite's locks do not hold and files are damaged: "
            "name a file on a local disk, or a PostgreSQL that all nodes reach"
        )


def file_system_of(path: Path) -> str:
    """Return the type of the file system of a file, as the kernel names it; "" where it cannot be told."""
    try:
        mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    real = os.path.realpath(path)
    best, kind = "", ""
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        place = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields.split(" ")[4])
        inside = real == place or real.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best):  # of two mounts at one place the later one is seen
            best, kind = place, rest.split(" ")[0]
    return kind
