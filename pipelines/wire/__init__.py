"""How a version writes its calls, seen by rendering its chat template over one fixed dialogue, far from this process.

No engine, no GPU, no weights: everything but the template is fixed, so only a change of the template changes the
digests. The template is somebody else's program: it runs in a child process that can open, start and write nothing
(`child`), is ended in time (`parent`), and what it wrote is only compared (`dialogue`).
"""

from pipelines.wire.parent import render_digests
from registry.template_rules import WireDigests

__all__ = ["WireDigests", "render_digests"]
