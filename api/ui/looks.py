"""How pages are made of templates, and the files that they load."""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from api.ui import charts, happened, words

HERE = Path(__file__).parent
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Looks:
    """The templates and files, read when they are first needed."""

    @cached_property
    def files(self) -> Mapping[str, bytes]:
        """What pages load, by name."""
        return {path.name: path.read_bytes() for path in sorted((HERE / "static").iterdir())}

    @cached_property
    def version(self) -> str:
        """Stands in the address of every file, so that browsers keep them until they change."""
        mark = hashlib.sha256()
        for name, body in self.files.items():
            mark.update(name.encode() + b"\0" + body)
        return mark.hexdigest()[:12]

    @cached_property
    def _templates(self) -> Environment:
        made = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        made.globals["version"] = self.version
        made.globals["charts"] = charts
        made.globals["words"] = words
        made.globals["happened"] = happened
        made.filters.update(words.FILTERS)
        made.globals["parts"] = made.get_template("parts.html").module
        return made

    def render(self, template: str, **values: object) -> str:
        """A template with these values; whatever they hold is escaped."""
        return self._templates.get_template(template).render(values)
