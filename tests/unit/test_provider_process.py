"""The process of a provider, started and ended as the engine does it."""

import signal
import subprocess
import sys
import textwrap

import psutil

PLUGIN = textwrap.dedent(
    """
    from providers.base.provider import Provider
    from providers.base.server import main
    main(Provider, "toy", "1.0.0")
    """
)


def test_a_plugin_prints_its_port_alone_and_ends_when_it_is_told_to():
    arguments = [sys.executable, "-c", PLUGIN, "127.0.0.1:1", "--logtostderr", "-v=9"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as plugin:
        port = int(plugin.stdout.readline())
        plugin.send_signal(signal.SIGINT)
        rest = plugin.stdout.read()
        assert plugin.wait(20) == 0
    assert 0 < port < 65536
    assert rest == ""


def test_a_plugin_ends_when_the_engine_is_killed():
    # A shell stands for the engine: it starts the plugin, which must notice that its parent is gone.
    engine = subprocess.Popen(
        ["sh", "-c", '"$0" -c "$1" & echo $!; wait', sys.executable, PLUGIN],
        stdout=subprocess.PIPE,
        text=True,
    )
    plugin = psutil.Process(int(engine.stdout.readline()))
    int(engine.stdout.readline())  # The plugin's port: it serves.
    engine.kill()
    engine.wait()
    plugin.wait(20)
    engine.stdout.close()
    assert not plugin.is_running()
