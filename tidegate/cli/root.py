"""The root of the command line, and `main`. Commands are imported when they are named, so that help is quick."""

import importlib

import click

# Name, where it is, and its line in `--help`: stated here so that help imports none of them.
COMMANDS = {
    "init": ("home", "init", "Make a home: an origin, a site, or both."),
    "upgrade": ("home", "upgrade", "Bring a home of an older release to this one."),
    "doctor": ("home", "doctor", "Say what is wrong with a home and what to do."),
    "models": ("models", "models", "Take versions in, look at them, withdraw them."),
    "contracts": ("contracts", "contracts", "What models emit, engines parse and routers accept; compared."),
    "suites": ("suites", "suites", "Signed cases that a served model must pass."),
    "tiers": ("people", "tiers", "What each tier demands before it serves a version."),
    "policy": ("policy", "policy", "tiers.toml: written, checked, rehearsed, signed and put in force."),
    "people": ("people", "people", "Who may approve, and the keys they sign with."),
    "decisions": ("decisions", "decisions", "Waivers, licences accepted, cases set aside: signed by people."),
    "accounts": ("accounts", "accounts", "Who may use the pages, the API and the clients' doors."),
    "tokens": ("accounts", "tokens", "What programs show at the doors instead of signing in."),
    "keys": ("keys", "keys", "Make a person's key, and show its public half."),
    "publishers": ("publishers", "publishers", "Whose signatures on models are believed."),
    "trust": ("trust", "trust", "The root that a site trusts; an origin's keys."),
    "sites": ("trust", "sites", "The sites that this origin ships to."),
    "bundles": ("bundles", "bundles", "Signed bundles: packed, inspected, imported, acknowledged."),
    "receipts": ("receipts", "receipts", "What sites say back, and what each is known to hold."),
    "companions": ("companions", "companions", "AGENTS.md, skills, client policies: pinned with the model."),
    "client-config": ("companions", "client_config", "A client's configuration, written from the pin."),
    "advisories": ("advisories", "advisories", "Engine releases that may not serve, and why."),
    "validate": ("validate", "validate", "Start a version, run what a tier demands, end it."),
    "gate": ("gate", "gate", "Whether a version may serve in a tier: one page, every reason."),
    "approvals": ("approvals", "approvals", "What waits for a person, and what they said."),
    "approve": ("approvals", "approve", "Sign that a version may be promoted."),
    "reject": ("approvals", "reject", "Sign that a version must not be promoted."),
    "promote": ("pins", "promote", "Let a tier serve a version, if the gate is open."),
    "pins": ("pins", "pins", "What each tier serves, now or at any moment."),
    "rollback": ("pins", "rollback", "Return a tier to its last good version."),
    "rollout": ("rollout", "rollout", "Carry a pin out to the engines, without dropping a request."),
    "serving": ("rollout", "serving", "What serving.toml says, and the units made of it."),
    "agent": ("agent", "agent", "Look at what a tier's engines truly serve."),
    "drift": ("agent", "drift", "Pins held against what was seen to be served."),
    "materialise": ("models", "materialise", "Hand a version's files to an engine, verified."),
    "reconcile": ("validate", "reconcile", "What tiers may do by themselves: scan, validate, promote."),
    "serve": ("server", "serve", "Open the doors: model files, pages and an API over HTTP."),
    "server": ("server", "server", "What server.toml means, and nginx in front of the doors."),
    "support-bundle": ("support", "support_bundle", "What somebody elsewhere needs to help, without names."),
    "gc": ("gc", "gc", "Free space: what goes, what stays, and why."),
    "audit": ("audit", "audit", "What happened, the proof of it, and one version's account."),
}


class Root(click.Group):
    """Lists commands from the table; imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"tidegate.cli.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="tidegate")
def main() -> None:
    """Tidegate: an air-gapped model lifecycle registry.

    An origin fetches, scans and packs models into signed bundles. A site imports them, validates them while a real
    engine serves them, and pins them to tiers on signed approvals, with a way back. An auditor can check all of it.

    Every command takes --home, --actor and --json. A refusal says what to do next; its exit code is its own.
    """
