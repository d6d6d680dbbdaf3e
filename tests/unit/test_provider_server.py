"""The gRPC service of a provider, driven over loopback as the engine drives it."""

import asyncio

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from providers.base.provider import Provider
from providers.base.server import start
from providers.base.values import UNKNOWN, Secret, decode_properties, encode_properties
from tests.unit.provider_toy import URN, Toy, create, fake_engine, refused, served, with_toy


def test_the_handshake_and_configure_agree_on_secrets_resources_and_previews():
    async def talk(toy, stub):
        hello = await stub.Handshake(provider_pb2.ProviderHandshakeRequest(engine_address="127.0.0.1:1"))
        configured = await stub.Configure(
            provider_pb2.ConfigureRequest(
                args=encode_properties({"project": Secret("p")}), variables={"toy:config:project": "p"}
            )
        )
        info = await stub.GetPluginInfo(empty_pb2.Empty())
        assert toy.seen[0].args == {"project": Secret("p")}
        assert toy.seen[0].variables == {"toy:config:project": "p"}
        return hello, configured, info

    hello, configured, info = with_toy(talk)
    assert (hello.accept_secrets, hello.accept_resources, hello.accept_outputs) == (True, True, False)
    assert (configured.acceptSecrets, configured.acceptResources, configured.acceptOutputs) == (
        True,
        True,
        False,
    )
    assert configured.supportsPreview
    assert info.version == "1.2.3"


def test_type_and_name_come_from_the_urn_where_the_engine_does_not_send_them():
    async def talk(toy, stub):
        nested = "urn:pulumi:dev::llm::a:b:C$toy:index:Thing::one::more"
        await stub.Check(provider_pb2.CheckRequest(urn=nested, randomSeed=b"seed"))
        return toy.seen[0]

    request = with_toy(talk)
    assert (request.type, request.name, request.random_seed) == ("toy:index:Thing", "one::more", b"seed")


def test_a_check_failure_carries_its_path_in_the_reason():
    async def talk(_, stub):
        return await stub.Check(provider_pb2.CheckRequest(urn=URN, news=encode_properties({"bad": 1})))

    answer = with_toy(talk)
    assert [(f.property, f.reason) for f in answer.failures] == [("", "a.b[0].c: expected int, got string")]


def test_a_diff_lists_each_property_with_its_kind_and_what_forces_replacement():
    async def talk(_, stub):
        return await stub.Diff(
            provider_pb2.DiffRequest(
                urn=URN,
                id="id-1",
                old_inputs=encode_properties({"name": "a", "labels": {"x-y": "1"}}),
                olds=encode_properties({"damaged": True}),
                news=encode_properties({"name": "b", "labels": {"x-y": UNKNOWN}, "extra": 1}),
            )
        )

    answer = with_toy(talk)
    found = {path: (entry.kind, entry.inputDiff) for path, entry in answer.detailedDiff.items()}
    kind = provider_pb2.PropertyDiff
    assert found == {
        "name": (kind.UPDATE_REPLACE, True),
        'labels["x-y"]': (kind.UPDATE, True),
        "extra": (kind.ADD, True),
        "digest": (kind.UPDATE, False),
    }
    assert answer.changes == provider_pb2.DiffResponse.DIFF_SOME
    assert answer.hasDetailedDiff
    assert (list(answer.replaces), answer.deleteBeforeReplace) == (["name"], True)
    assert list(answer.diffs) == ["digest", "extra", "labels", "name"]


def test_an_equal_resource_has_no_changes_and_an_equal_provider_leaves_it_to_the_engine():
    async def talk(_, stub):
        same = provider_pb2.DiffRequest(
            urn=URN, old_inputs=encode_properties({"a": 1}), news=encode_properties({"a": 1})
        )
        return await stub.Diff(same), await stub.DiffConfig(same)

    diff, diff_config = with_toy(talk)
    assert diff.changes == provider_pb2.DiffResponse.DIFF_NONE
    assert diff_config == provider_pb2.DiffResponse()


def test_a_preview_may_answer_with_unknowns_and_without_an_id():
    async def talk(_, stub):
        return await stub.Create(
            provider_pb2.CreateRequest(urn=URN, properties=encode_properties({"a": UNKNOWN}), preview=True)
        )

    answer = with_toy(talk)
    assert (answer.id, decode_properties(answer.properties)) == ("", {"a": UNKNOWN, "url": UNKNOWN})


def test_an_unset_timeout_is_none_and_a_set_one_is_in_seconds():
    async def talk(toy, stub):
        await stub.Create(provider_pb2.CreateRequest(urn=URN))
        await stub.Create(provider_pb2.CreateRequest(urn=URN, timeout=90))
        return [request.timeout for request in toy.seen]

    assert with_toy(talk) == [None, 90.0]


def test_an_error_is_one_line_without_traceback():
    async def talk(_, stub):
        return await refused(stub.Create(create(how="refused")))

    error = with_toy(talk)
    assert (error.code(), error.details()) == (grpc.StatusCode.UNKNOWN, "the name is taken; choose another")


def test_a_defect_names_the_provider_and_keeps_its_traceback_for_the_debug_log():
    async def talk():
        toy = Toy()
        async with fake_engine() as (engine, address), served(toy) as stub:
            await stub.Attach(plugin_pb2.PluginAttach(address=address))
            error = await refused(stub.Create(create(how="bug")))
            await asyncio.to_thread(toy.log.flush)
            return error, engine.messages

    error, messages = asyncio.run(talk())
    assert error.details() == (
        "provider toy 1.2.3 failed unexpectedly: KeyError: 'oops' (`pulumi --debug` shows where)"
    )
    [(urn, text, _, severity)] = messages
    assert (urn, severity) == (URN, 0)
    assert "Traceback" in text


def test_a_failed_initialisation_keeps_the_id_the_partial_state_and_its_secrets():
    async def talk(_, stub):
        return await refused(stub.Create(create(how="half")))

    error = with_toy(talk)
    [raw] = [value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin"]
    details = provider_pb2.ErrorResourceInitFailed()
    assert status_pb2.Status.FromString(raw).details[0].Unpack(details)
    assert (details.id, list(details.reasons)) == ("id-1", ["not ready"])
    assert decode_properties(details.properties) == {"password": Secret("x")}
    assert decode_properties(details.inputs) == {"how": "half"}


def test_a_resource_that_does_not_exist_is_read_as_an_empty_answer():
    async def talk(_, stub):
        gone = await stub.Read(provider_pb2.ReadRequest(urn=URN, id="gone"))
        there = await stub.Read(provider_pb2.ReadRequest(urn=URN, id="there"))
        return gone, there

    gone, there = with_toy(talk)
    assert gone == provider_pb2.ReadResponse()
    assert (there.id, decode_properties(there.properties)) == ("there", {"a": 1, "b": 2})


def test_update_delete_and_invoke_carry_their_properties():
    async def talk(toy, stub):
        updated = await stub.Update(
            provider_pb2.UpdateRequest(
                urn=URN, id="i", old_inputs=encode_properties({"a": 1}), news=encode_properties({"a": 2})
            )
        )
        await stub.Delete(provider_pb2.DeleteRequest(urn=URN, id="i", old_inputs=encode_properties({"a": 2})))
        invoked = await stub.Invoke(provider_pb2.InvokeRequest(tok="f", args=encode_properties({"x": [1]})))
        return decode_properties(updated.properties), toy.seen[0].inputs, getattr(invoked, "return")

    updated, deleted, returned = with_toy(talk)
    assert updated == {"a": 2, "was": 1}
    assert deleted == {"a": 2}
    assert decode_properties(returned) == {"echo": {"x": [1]}}


def test_what_a_provider_does_not_have_is_named():
    async def talk():
        async with served(Provider("bare", "0")) as stub:
            return await refused(stub.Create(create()))

    assert asyncio.run(talk()).details() == "provider bare 0 has no toy:index:Thing"


def test_blocking_operations_run_beside_each_other_and_cancel_ends_waiting_ones():
    async def talk(toy, stub):
        waiting = [
            stub.Create(create(how="wait")),
            stub.Create(create(how="block")),
            stub.Create(create(how="block")),
        ]
        running = [asyncio.ensure_future(call) for call in waiting]
        while len(toy.seen) < len(running):  # All three have begun although none can end.
            await asyncio.sleep(0.01)
        await stub.Cancel(empty_pb2.Empty())
        return await asyncio.gather(*running, return_exceptions=True)

    paused, *blocked = with_toy(talk)
    assert paused.details() == "cancelled"
    assert [answer.id for answer in blocked] == ["id-1", "id-1"]


def test_status_lines_and_messages_reach_the_engines_log_in_order():
    async def talk():
        toy = Toy()
        async with fake_engine() as (engine, address), served(toy) as stub:
            await stub.Handshake(provider_pb2.ProviderHandshakeRequest(engine_address=address))
            await stub.Create(create(how="status"))
            await asyncio.to_thread(toy.log.flush)
            return engine.messages

    assert [message[:3] for message in asyncio.run(talk())] == [(URN, "working", True), (URN, "done", False)]


def test_a_message_larger_than_grpcs_default_passes():
    async def talk(_, stub):
        return await stub.Check(
            provider_pb2.CheckRequest(urn=URN, news=encode_properties({"big": "x" * 5_000_000}))
        )

    async def run():
        toy = Toy()
        server, port = await start(toy)
        options = [("grpc.max_receive_message_length", -1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            answer = await talk(toy, provider_pb2_grpc.ResourceProviderStub(channel))
        await server.stop(grace=0)
        return answer

    assert len(decode_properties(asyncio.run(run()).inputs)["big"]) == 5_000_000
