"""The Serve config: the API server takes it for text, and Serve ignores what it does not know."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError
from ray.serve.schema import ServeDeploySchema

from serve_app.cli.config_file import read_config
from serve_app.errors import ConfigError
from serve_app.models.sources import is_on_hub
from serve_app.settings import Settings, load_settings, upload_limit_bytes, uploads_limit_bytes
from tests.kuberay.manifests import Manifests, quantity
from tests.kuberay.rules.names import prerequisites

HEAD_IS_LEFT_OUT = "excludeHeadPodFromServeSvc"
BODY_SIZE = "nginx.ingress.kubernetes.io/proxy-body-size"


def serve_config_is_one_that_rayscribe_serve_takes(m: Manifests) -> Iterator[str]:
    """Unknown keys, wrong types, settings that contradict each other."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "serve.yaml"
        path.write_text(m.spec["serveConfigV2"])
        try:
            read_config(path)
        except ConfigError as error:
            yield error.message.removeprefix(f"{path}: ")


def serve_config_is_one_that_serve_takes(m: Manifests) -> Iterator[str]:
    try:
        ServeDeploySchema.model_validate(m.serve)
    except ValidationError as error:
        for found in error.errors():
            yield f"{'.'.join(map(str, found['loc']))}: {found['msg']}"
    if not m.serve["applications"][0].get("route_prefix", "/").startswith("/"):
        yield "route_prefix must begin with /"  # Serve says so only when it deploys


def job_reads_the_same_serve_config(m: Manifests) -> Iterator[str]:
    for configmap in m.of("ConfigMap"):
        if configmap["metadata"]["name"] == "rayscribe-config":
            if configmap["data"]["serve.yaml"] != m.spec["serveConfigV2"]:
                yield "the ConfigMap's serve.yaml is not the RayService's serveConfigV2"
            return
    yield "there is no ConfigMap rayscribe-config"


def every_worker_has_a_proxy(m: Manifests) -> Iterator[str]:
    """Else pods with replicas are never Ready, and the head, which is left out of the Service, has the only proxy."""
    if m.serve.get("proxy_location") != "EveryNode":
        yield "proxy_location must be EveryNode"
    if m.serve["http_options"].get("host") != "0.0.0.0" or m.args.get("http", {}).get("host") != "0.0.0.0":
        yield "http_options.host and args.http.host must be 0.0.0.0"
    if not m.spec.get(HEAD_IS_LEFT_OUT):
        yield f"{HEAD_IS_LEFT_OUT} must be true"


def proxies_have_the_limits_of_args(m: Manifests) -> Iterator[str]:
    """They run before the application and beside it, so what they hold back they know from the environment of their pod alone."""
    limits = load_settings(m.args, {}).limits
    read = {"max_upload_bytes": upload_limit_bytes, "max_uploads_bytes": uploads_limit_bytes}
    for pods in (m.pods_of(group) for group in m.groups):
        environment = {v["name"]: v.get("value", "") for v in pods.spec["containers"][0].get("env", ())}
        for name, of_the_proxy in read.items():
            if of_the_proxy(environment) != (wanted := getattr(limits, name)):
                yield f'pods of {pods.where}: RAYSCRIBE_LIMITS__{name.upper()} must be "{wanted}", as limits.{name}'
    for ingress in m.of("Ingress"):
        size = ingress["metadata"].get("annotations", {}).get(BODY_SIZE, "1m")
        if quantity(f"{size.removesuffix('m')}Mi") < limits.max_upload_bytes:
            yield f"{BODY_SIZE} must be at least {math.ceil(limits.max_upload_bytes / 2**20)}m, for limits.max_upload_bytes"


def ready_waits_for_the_model(m: Manifests) -> Iterator[str]:
    """With nothing to preload, an application of no Recognizer at all is RUNNING, and a broken image is promoted."""
    settings = load_settings(m.args, {})
    if settings.default_model not in settings.preload:
        yield f"preload must have {settings.default_model}"


def settings_name_files_that_pods_have(m: Manifests) -> Iterator[str]:
    settings = load_settings(m.args, {})
    for pods in (m.pods_of(group) for group in m.groups):
        if pods.mount_of(settings.data_dir) is None:
            yield f"pods of {pods.where} have no volume at {settings.data_dir}"
    for file in filter(None, (settings.auth.api_key_file, settings.auth.admin_key_file)):
        secret = _secret_at(m, file)
        if secret is None:
            yield f"pods of cpu have no Secret at {file}"
        elif Path(file).name not in prerequisites().get(secret, ()):
            yield f"the Secret {secret} has no key {Path(file).name}"


def _secret_at(m: Manifests, file: str) -> str | None:
    """The Secret that the Gateways' pods see there."""
    group = m.group("cpu")
    assert group
    mount = m.pods_of(group).mount_of(file)
    for volume in group["template"]["spec"]["volumes"]:
        if mount and volume["name"] == mount["name"] and "secret" in volume:
            return str(volume["secret"]["secretName"])
    return None


def models_are_there_before_a_pod_is(m: Manifests) -> Iterator[str]:
    """On the volume that the Job fills, or in the image."""
    settings = load_settings(m.args, {})
    if not settings.offline:
        yield "offline must be true: pods would download what the Job has not pulled"
    for model_id in settings.preload:
        yield from _is_there(m, model_id, settings)


def _is_there(m: Manifests, model_id: str, settings: Settings) -> Iterator[str]:
    source = settings.models[model_id].source
    for pods in (m.pods_of(group) for group in m.groups):
        if is_on_hub(source):
            mount = pods.mount_of(f"{settings.data_dir}/models")
            claim = pods.claims.get(mount["name"]) if mount else None
            filled = {c for job in m.pods() if job.where.startswith("Job") for c in job.claims.values()}
            if claim is None or claim not in filled:
                yield f"no Job fills the volume from which pods of {pods.where} read {model_id}"
            elif mount and not mount.get("readOnly"):
                yield f"pods of {pods.where} must mount {claim} read-only"
        elif source.startswith("/models/") and not pods.spec["containers"][0]["image"].endswith(f"-{model_id}"):
            yield f"pods of {pods.where} do not run the image that has {model_id}"


RULES = (
    serve_config_is_one_that_rayscribe_serve_takes,
    serve_config_is_one_that_serve_takes,
    job_reads_the_same_serve_config,
    every_worker_has_a_proxy,
    proxies_have_the_limits_of_args,
    ready_waits_for_the_model,
    settings_name_files_that_pods_have,
    models_are_there_before_a_pod_is,
)
