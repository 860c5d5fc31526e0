"""Where studies and reports are on disk."""

import difflib
import os
import re
import shutil
import uuid
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

from flows.plan import PlannedStep
from schemas import StudyError
from tasks.storage.store import Store

REPORTS_URL = "TASKGRAM_REPORTS_URL"


def shipped_studies() -> dict[str, Path]:
    return {Path(str(f)).stem: Path(str(f)) for f in resources.files("studies").iterdir() if f.name.endswith(".toml")}


def study_path(name: str) -> Path:
    """A study file, or the shipped study of that name. Raises StudyError, with a hint, if there is neither."""
    path, shipped = Path(name), shipped_studies()
    if path.suffix == ".toml" or os.path.exists(path):  # unlike Path.exists, which fails for very long names
        if os.path.isfile(path):
            return path
        raise StudyError(f"{name}: no such study file. `taskgram init NAME` writes one to start from.")
    if name in shipped:
        return shipped[name]
    near = difflib.get_close_matches(name, shipped, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the shipped studies are {', '.join(sorted(shipped))}"
    raise StudyError(f"{name!r} is neither a file nor a shipped study; {hint}")


def report_page(store: Store, study: str) -> str:
    """The page of a study's report: a path, or a URL for a remote root."""
    path = f"{store.layout.report(study)}/index.html"
    return str(Path(path).resolve()) if store.local else str(store.fs.unstrip_protocol(path))


def reports_url(root: str) -> str:
    """Address in TASKGRAM_REPORTS_URL at which this root's reports are served; "" if there is none. If TASKGRAM_ROOT names another
    root, the address belongs to that one. Raises StudyError for a wrong address."""
    url, other = os.environ.get(REPORTS_URL, "").rstrip("/"), os.environ.get("TASKGRAM_ROOT")
    if not url:
        return ""
    try:
        address = urlsplit(url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError
        if "@" in address.netloc or address.query or address.fragment or not url.isprintable() or set(url) & set(' ()<>[]"\\'):
            raise ValueError
    except ValueError:
        example = "like http://127.0.0.1:4201 or https://host/reports, without a password or token, because Prefect's UI shows it"
        raise StudyError(f"{REPORTS_URL}: give an address for a browser, {example}") from None
    return "" if other and _same_place(other) != _same_place(root) else url


def _same_place(root: str) -> str:
    return root.rstrip("/") if "://" in root else str(Path(root).resolve())


def report_link(root: str, page: str, study: str) -> str:
    """The report page's address for a browser: where the root's reports are served, else the file itself."""
    if url := reports_url(root):
        return f"{url}/{study}/index.html"
    return page if "://" in page else Path(page).as_uri()


def publish_report(plan: list[PlannedStep], store: Store, study: str) -> str:
    """Copy the newest report to `reports/<study>`, the page last; returns the page. The caller holds a lease."""
    outputs = next(p for p in plan if p.step.name == "report").outputs
    sources = [store.fetched(part) for parts in outputs.values() for part in parts]
    target = store.layout.report(study)
    if store.local:
        _replace_folder(sources, Path(target))
        return report_page(store, study)
    files = {p.relative_to(source).as_posix(): p for source in sources for p in source.rglob("*") if p.is_file()}
    for name, path in sorted(files.items(), key=lambda item: (item[0] == "index.html", item[0])):
        store.fs.put_file(str(path), f"{target}/{name}")
    for old in store.fs.find(target):
        if old.removeprefix(f"{target}/") not in files:
            store.fs.rm_file(old)
    return report_page(store, study)


def _replace_folder(sources: list[Path], target: Path) -> None:
    """Replace `target` by a merged copy of `sources`, using renames, and delete what killed runs left."""
    target.parent.mkdir(parents=True, exist_ok=True)
    leftover = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{32}}(\.old)?")
    for path in list(target.parent.iterdir()):
        if leftover.fullmatch(path.name):  # not those of a study whose name begins with this one's
            shutil.rmtree(path, ignore_errors=True)
    fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    for source in sources:
        shutil.copytree(source, fresh, dirs_exist_ok=True)
    if target.exists():
        target.rename(fresh.with_name(f"{fresh.name}.old"))
    fresh.rename(target)
    shutil.rmtree(fresh.with_name(f"{fresh.name}.old"), ignore_errors=True)
