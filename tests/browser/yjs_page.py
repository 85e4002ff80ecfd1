"""A page with an unmodified Yjs editor in it: npm's modules as the browser loads them, by an import map.

The page and its modules come from a small server beside ours, which knows nothing of them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PACKAGES = ("yjs", "y-websocket", "y-protocols", "lib0", "isomorphic.js")
CONDITIONS = ("browser", "module", "import", "default")
PAGE = "/page"
_PAGE = """<!doctype html>
<title>A text for all</title>
<script type="importmap">IMPORTS</script>
<textarea aria-label="Text" rows="10" cols="60"></textarea>
<output></output>
<script type="module">
import * as Y from "yjs";
import { WebsocketProvider } from "y-websocket";

const doc = new Y.Doc();
const text = doc.getText("text");
const area = document.querySelector("textarea");
const asked = new URLSearchParams(location.search);
const url = `ws://127.0.0.1:${asked.get("port")}/documents`;
const name = asked.get("document");
// Tabs of one browser would otherwise talk past the server.
const provider = new WebsocketProvider(url, name, doc, { disableBc: true });

// What a textarea can do of an editor: the stretch that differs is replaced.
area.oninput = () => {
    const before = text.toString(), after = area.value;
    let start = 0, end = 0;
    const most = Math.min(before.length, after.length);
    while (start < most && before[start] === after[start]) start += 1;
    while (end < most - start && before.at(-1 - end) === after.at(-1 - end)) end += 1;
    doc.transact(() => {
        text.delete(start, before.length - start - end);
        text.insert(start, after.slice(start, after.length - end));
    });
};
text.observe(() => { area.value = text.toString(); });
const show = () => {
    const others = [...provider.awareness.getStates().values()].filter(({ name }) => name);
    document.querySelector("output").textContent =
        `${provider.synced ? "live" : "offline"}, ${others.map(({ name }) => name).sort().join(" and ")}`;
};
provider.on("sync", show);
provider.on("status", show);
provider.awareness.on("change", show);
provider.awareness.setLocalStateField("name", asked.get("name"));
show();
</script>
"""


@contextmanager
def serve_yjs(modules: Path) -> Iterator[str]:
    """Serve `modules`, and the page at `PAGE`.  Yields the origin."""
    page = _PAGE.replace("IMPORTS", json.dumps({"imports": dict(_imports(modules))})).encode()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith(PAGE):
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    handler = partial(Handler, directory=str(modules))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _imports(modules: Path) -> Iterator[tuple[str, str]]:
    """What each name that a module imports stands for."""
    for package in PACKAGES:
        described = json.loads((modules / package / "package.json").read_text())
        for name, target in described["exports"].items():
            file = _file_of(target)
            if file is not None and "*" not in name:
                yield package + name[1:], f"/{package}/{file.removeprefix('./')}"


def _file_of(target: Any) -> str | None:
    if isinstance(target, str):
        return target if target.endswith((".js", ".mjs")) else None
    for condition in CONDITIONS:
        if condition in target:
            return _file_of(target[condition])
    return None
