"""Which files a fetch downloads.

Files of the Hugging Face Hub come by its two plain addresses, one that names a commit's files
with their hashes and one that gives a file, through the same transfer as everything else: one
way to resume, one mirror, one record, one thing to test.
"""

import fnmatch
import re
from collections import defaultdict
from urllib.parse import quote

from medres.datasets.fetch.transfer import HUB_HOST, Client
from medres.datasets.source import File, Source

SHARD = r"-\d{5}-of-\d{5}.*"
"""What the names of the shards of one split differ in."""


def wanted(client: Client, source: Source, revision: str, limit: int) -> tuple[str, list[File]]:
    """Return the commit of the Hub that a revision names, and all files to bring.

    Args:
        client: Asks the Hub.
        source: What the files are of.
        revision: Commit or branch; empty takes the source's.
        limit: How many archives at most, tables beside them always; without archives how many
            files; on the Hub how many shards of each split. Zero means all.

    Raises:
        ValueError: If the Hub has nothing that a pattern names.
    """
    archives = [file for file in source.files if file.is_archive]
    others = [file for file in source.files if not file.is_archive]
    if limit and archives:
        archives = archives[:limit]
    elif limit:
        others = others[:limit]
    if not source.hub_repo:
        return "", others + archives
    commit, offered = _commit(client, source.hub_repo, revision or source.hub_revision)
    kinds: dict[str, list[File]] = defaultdict(list)
    for name in _matching(source, commit, offered):
        kinds[re.sub(SHARD, "", name)].append(offered[name])
    shards = [file for kind in kinds.values() for file in kind[: limit or None]]
    return commit, others + shards + archives


def _matching(source: Source, commit: str, offered: dict[str, File]) -> list[str]:
    """Return the names that any pattern wants; each pattern must find some."""
    names: set[str] = set()
    for pattern in source.hub_patterns:
        found = fnmatch.filter(offered, pattern)
        if not found:
            raise ValueError(
                f"{source.hub_repo} has no file {pattern!r} at {commit}; it has "
                f"{', '.join(sorted(offered)[:10])}"
            )
        names.update(found)
    return sorted(names)


def size_bytes(client: Client, files: list[File]) -> int:
    """Return the size of all files together; 0 if that of any is not to be known beforehand."""
    total = 0
    for file in files:
        size = file.size_bytes or client.size_bytes(file.url)
        if not size:
            return 0
        total += size
    return total


def _commit(client: Client, repo: str, revision: str) -> tuple[str, dict[str, File]]:
    """Return the commit that a revision is now, and its files by path."""
    home = f"https://{HUB_HOST}"
    asked = f"{home}/api/datasets/{repo}/revision/{quote(revision, safe='')}?blobs=true"
    answer = client.json(asked)
    try:
        commit, listed = str(answer["sha"]), list(answer["siblings"])
        files = {each["rfilename"]: (each.get("lfs") or {}, each) for each in listed}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{asked} does not answer with a commit and its files") from error
    return commit, {
        name: File(
            url=f"{home}/datasets/{repo}/resolve/{commit}/{quote(name)}",
            path=name,
            sha256=stored.get("sha256", ""),
            size_bytes=each.get("size") or stored.get("size", 0),
            is_archive=name.endswith(".zip"),
        )
        for name, (stored, each) in files.items()
    }
