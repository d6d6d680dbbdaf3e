"""The `llmstack` command."""

from __future__ import annotations

import typer

from llmstack.commands import (
    ask,
    catalog,
    doctor,
    environment,
    fault,
    load_test,
    manifests,
    plan,
    recover,
    rehearse,
    schema,
    weights,
)

app = typer.Typer(
    name="llmstack",
    help="Language models on Google Cloud: look before you deploy, rehearse without an account.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("models")(catalog.models)
app.command("fit")(catalog.fit)
app.command("plan")(plan.plan)
app.command("manifests")(manifests.manifests)
app.command("env")(environment.env)
app.command("down")(environment.down)
app.command("ask")(ask.ask)
app.command("load-test")(load_test.load_test)
app.command("doctor")(doctor.doctor)
app.command("schema")(schema.schema)
app.command("recover")(recover.recover)
app.command("fault")(fault.fault)
app.command("rehearse")(rehearse.rehearse)
app.command("weights", context_settings=weights.CONTEXT)(weights.weights)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
