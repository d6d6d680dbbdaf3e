"""Faults of deployments on TPUs and of their cluster: configuration, key, and part of what is told."""

from __future__ import annotations

from typing import Any

CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "topology that is none": ({"tpu": {"topology": "2x8"}}, "tpu.topology", "did you mean"),
    "topology that is no text of one": (
        {"tpu": {"topology": "8"}},
        "tpu.topology",
        "is not a TPU topology; write ROWSxCOLUMNS",
    ),
    "machine of the other generation": (
        {"tpu": {"machine": "ct6e-standard-8t"}},
        "tpu.machine",
        "has v6e chips, and accelerator is v5e; write accelerator: v6e",
    ),
    "machine that is none": ({"tpu": {"machine": "ct5p-hightpu-8t"}}, "tpu.machine", "ct5lp-hightpu-8t"),
    "machine larger than the slice": (
        {"tpu": {"machine": "ct5lp-hightpu-8t", "topology": "2x2"}},
        "tpu.machine",
        "has 8 chips, and 2x2 is 4 chips",
    ),
    "machines that make no slice together": (
        {"tpu": {"machine": "ct5lp-hightpu-8t", "topology": "4x4"}},
        "tpu.machine",
        "4x4 would be 16 chips = 2 machines, and only machines with 4 chips make a slice together",
    ),
    "reservation without its capacity": ({"tpu": {"reservation": "ours"}}, "tpu.reservation", "give both"),
    "a reservation by its address": (
        {"tpu": {"capacity": "reservation", "reservation": "projects/ours/reservations/bought"}},
        "tpu.reservation",
        "is not the name of a resource; write 1 to 63 lower-case letters, digits and hyphens, no address",
    ),
    "hours of nodes on demand": ({"tpu": {"maxRunHours": 3}}, "tpu.maxRunHours", "capacity: flex-start"),
    "more hours than a week": (
        {"tpu": {"capacity": "flex-start", "maxRunHours": 169}},
        "tpu.maxRunHours",
        "168",
    ),
    "least above most": (
        {"engine": "vllm-tpu", "scaling": {"min": 3, "max": 2}},
        "scaling.min",
        "is above max (2)",
    ),
    "no replica": ({"scaling": {"min": 0}}, "scaling.min", "1"),
    "replicas by load without metrics": (
        {"scaling": {"max": 2}},
        "scaling.max",
        "write server.metricsPort: 9100, or scaling.max: 1",
    ),
    "weights quantised and not": (
        {"dtype": "bfloat16", "server": {"quantizeWeights": True}},
        "server.quantizeWeights",
        "write dtype: int8",
    ),
    "int8 on vLLM": ({"engine": "vllm-tpu", "dtype": "int8"}, "dtype", "int8 needs engine: jetstream"),
    "a flag of the other engine": (
        {"engine": "vllm-tpu", "server": {"quantizeKvCache": True}},
        "server.quantizeKvCache",
        "is a flag of jetstream, and vllm-tpu runs",
    ),
    "a cache beyond the context": (
        {"server": {"maxCacheLength": 8192}},
        "server.maxCacheLength",
        "is more than meta-llama/Llama-2-7b-hf's context of 4096 tokens",
    ),
    "a cache below the limits": (
        {"server": {"maxCacheLength": 1024}, "limits": {"maxInputTokens": 1000, "maxNewTokens": 100}},
        "server.maxCacheLength",
        "write at least 1100",
    ),
    "a flag that follows from another key": (
        {"server": {"arguments": ["--checkpoint_path=/elsewhere"]}},
        "server.arguments[0]",
        "leave --checkpoint_path out",
    ),
    "a switch that another key decides, turned off": (
        {"server": {"arguments": ["--noquantize_weights"]}},
        "server.arguments[0]",
        "follows from dtype already; leave --noquantize_weights out",
    ),
    "a flag of vLLM with the other hyphens": (
        {"engine": "vllm-tpu", "server": {"arguments": ["--swap-space=4", "--max_model_len=64"]}},
        "server.arguments[1]",
        "follows from server.maxCacheLength already",
    ),
    "a switch of vLLM, turned off": (
        {"engine": "vllm-tpu", "server": {"arguments": ["--no-enable-prefix-caching"]}},
        "server.arguments[0]",
        "follows from server.prefixCaching already",
    ),
    "a flag that has a key and was left out": (
        {"server": {"arguments": ["--prometheus_port=9100"]}},
        "server.arguments[0]",
        "follows from server.metricsPort already",
    ),
    "a secret among the flags": (
        {"engine": "vllm-tpu", "server": {"arguments": ["--api-key=hunter2"]}},
        "server.arguments[0]",
        "is a secret",
    ),
    "metrics where gRPC is": ({"server": {"metricsPort": 9000}}, "server.metricsPort", "of gRPC requests"),
    "metrics where HTTP is": ({"server": {"metricsPort": 8000}}, "server.metricsPort", "for instance 9100"),
    "an argument that is no flag": ({"server": {"arguments": ["9000"]}}, "server.arguments[0]", "--NAME"),
    "an image without a tag": ({"server": {"image": "jetstream"}}, "server.image", "is not pinned"),
    "a model whose rotary embeddings are scaled": (
        {"model": "meta-llama/Llama-3.1-8B"},
        "engine",
        "its rotary embeddings are scaled, the server's are not; write engine: vllm-tpu",
    ),
    "a model that JetStream has not": (
        {"model": "meta-llama/Llama-3.2-1B"},
        "engine",
        "is of a shape that jetstream has no constants for: it has llama-2-7b",
    ),
    "an encoder-decoder": ({"model": "google/flan-t5-base"}, "engine", "takes models of family decoder"),
    "a GPU's engine": ({"engine": "vllm"}, "engine", "does not run on gke-tpu"),
    "weights in another element type": (
        {"weights": {"dtype": "float32"}},
        "weights.dtype",
        "is not what jetstream computes in here",
    ),
    "a source that is no place": (
        {"weights": {"source": "gs://bucket"}},
        "weights.source",
        "gs://BUCKET/PREFIX",
    ),
    "a Gateway without a host": (
        {"access": {"expose": "gateway", "certificateMap": "llm"}},
        "access.host",
        "is required for expose: gateway",
    ),
    "a host without a Gateway": ({"access": {"host": "llm.example.com"}}, "access.host", "expose: gateway"),
    "invokers without a Gateway": (
        {"access": {"invokers": ["user:a@example.com"]}},
        "access.invokers",
        "write expose: gateway",
    ),
    "a Gateway for everybody": (
        {
            "access": {
                "expose": "gateway",
                "host": "llm.example.com",
                "certificateMap": "llm",
                "invokers": ["allUsers"],
            }
        },
        "access.invokers",
        "whom Identity-Aware Proxy does not take",
    ),
    "a host that is no name": (
        {"access": {"expose": "gateway", "host": "llm", "certificateMap": "llm"}},
        "access.host",
        "is not a host name",
    ),
    "Google's converter for another engine": (
        {"weights": {"converter": "published"}, "engine": "vllm-tpu"},
        "weights.converter",
        "writes checkpoints for jetstream, and vllm-tpu reads what is staged",
    ),
    "Google's converter and a disk": (
        {"weights": {"converter": "published", "volume": "disk"}},
        "weights.converter",
        "writes no manifest, and a disk is filled with what can be verified",
    ),
    "ranges without a load balancer": (
        {"access": {"sourceRanges": ["10.1.0.0/16"]}},
        "access.sourceRanges",
        "write expose: internal",
    ),
    "a load balancer for nobody": (
        {"access": {"expose": "internal", "sourceRanges": []}},
        "access.sourceRanges",
        "lets nobody in",
    ),
    "an address that is no range": (
        {"access": {"expose": "internal", "sourceRanges": ["10.1.2.3"]}},
        "access.sourceRanges[0]",
        "write ADDRESS/BITS",
    ),
    "a range with bits of an address": (
        {"access": {"expose": "internal", "sourceRanges": ["10.1.2.3/8"]}},
        "access.sourceRanges[0]",
        "write ADDRESS/BITS",
    ),
    "addresses that a cluster has not": (
        {"access": {"expose": "internal", "sourceRanges": ["fd00::/8"]}},
        "access.sourceRanges[0]",
        "is not a range of IPv4 addresses",
    ),
    "sequences that chips cannot share": (
        {
            "tpu": {"topology": "2x4"},
            "server": {"shardOnBatch": True, "batchSize": 30, "maxCacheLength": 512},
        },
        "tpu.topology",
        "has 8 chips, and 30 sequences cannot be shared evenly by them",
    ),
    "a region for a zone": (
        {"tpu": {"zone": "us-west1"}},
        "tpu.zone",
        "is not a zone; write REGION and a letter",
    ),
    "a zone of another region": ({"tpu": {"zone": "us-east5-a"}}, "tpu.zone", "is not in gcp:region"),
}

CLUSTERS: dict[str, tuple[dict[str, Any], str, str]] = {
    "open addresses beside the name": (
        {"authorizedNetworks": ["203.0.113.0/24"]},
        "llm:cluster.authorizedNetworks",
        "write dnsEndpoint: false",
    ),
    "no way in": ({"dnsEndpoint": False}, "llm:cluster.authorizedNetworks", "addresses you deploy from"),
    "a range that is none": (
        {"dnsEndpoint": False, "authorizedNetworks": ["home"]},
        "llm:cluster.authorizedNetworks[0]",
        "203.0.113.0/24",
    ),
    "a channel that is none": ({"releaseChannel": "fast"}, "llm:cluster.releaseChannel", "regular"),
    "a key that is none": ({"zone": True}, "llm:cluster.zone", "did you mean zonal?"),
    "nodes too small": (
        {"cpuPool": {"machine": "e2-micro"}},
        "llm:cluster.cpuPool.machine",
        "is no machine type known here",
    ),
    "fewer nodes at most than at least": (
        {"cpuPool": {"min": 4}},
        "llm:cluster.cpuPool.min",
        "is above max (3)",
    ),
    "a machine type that is none": (
        {"cpuPool": {"machine": "large"}},
        "llm:cluster.cpuPool.machine",
        "is not a machine type",
    ),
    "a network that is none": ({"network": "My net"}, "llm:cluster.network", "is not a network"),
    "a subnetwork for a network": (
        {"network": "projects/shared/regions/us-west1/subnetworks/nodes"},
        "llm:cluster.network",
        "projects/PROJECT/global/networks/NAME",
    ),
    "a network for a subnetwork": (
        {"subnetwork": "projects/shared/global/networks/nodes"},
        "llm:cluster.subnetwork",
        "projects/PROJECT/regions/REGION/subnetworks/NAME",
    ),
    "one zone, and nobody says which": (
        {"zonal": True},
        "llm:cluster.zonal",
        "needs gcp:zone: a control plane follows no deployment's zone",
    ),
    "nodes with too little memory": (
        {"cpuPool": {"machine": "n1-standard-1"}},
        "llm:cluster.cpuPool.machine",
        "has 1 CPUs and 3.75 GiB, and a cluster's own pods and a weights job need 2 and 4.00 GiB",
    ),
    "nodes with a GPU": (
        {"cpuPool": {"machine": "g2-standard-4"}},
        "llm:cluster.cpuPool.machine",
        "has nvidia-l4, which nothing here uses",
    ),
}
