"""Which cluster: that of the kubeconfig, or of the pod that this runs in."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from visionjobs.cluster.client import Cluster
from visionjobs.errors import UserError
from visionjobs.settings import ClusterSettings

IN_POD = "KUBERNETES_SERVICE_HOST"
"""A variable that Kubernetes sets in every pod."""


def kubeconfig() -> str | None:
    """The path of the kubeconfig (KUBECONFIG may join several with ':'), or None where there is none."""
    named = os.environ.get("KUBECONFIG")
    default = Path("~/.kube/config").expanduser()
    return named or (str(default) if default.is_file() else None)


def has_cluster() -> bool:
    """Whether there is a kubeconfig, or this is a pod."""
    return kubeconfig() is not None or IN_POD in os.environ


def connect(settings: ClusterSettings) -> Cluster:
    """The cluster of the kubeconfig (KUBECONFIG, ~/.kube/config), or of the pod that this runs in. No access yet.

    Raises UserError where there is none, or no context of the name that VISIONJOBS_CONTEXT gives.
    """
    import kubernetes
    import urllib3

    configuration = kubernetes.client.Configuration()
    configuration.retries = False  # ours tell at once what is wrong
    file = kubeconfig()
    if file is None and IN_POD in os.environ:
        kubernetes.config.load_incluster_config(client_configuration=configuration)
    else:
        _load(file or str(Path("~/.kube/config").expanduser()), settings.context, configuration)
    if not configuration.verify_ssl:  # who wrote the kubeconfig knows: not a warning at each request
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return Cluster(kubernetes.client.ApiClient(configuration), settings.namespace, str(configuration.host))


def _load(file: str, context: str | None, configuration: object) -> None:
    import kubernetes
    import yaml
    from kubernetes.config import ConfigException

    logging.getLogger().addHandler(logging.NullHandler())  # a login program that fails would be told with a traceback
    try:
        kubernetes.config.load_kube_config(file, context, configuration, False)
    except (ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = str(error).splitlines()[0] if isinstance(error, ConfigException | OSError) else "it is no kubeconfig"
        if context:
            how = f"set VISIONJOBS_CONTEXT to one of: {', '.join(_contexts(file)) or 'none is in there'}"
            raise UserError(f'{file}: the context "{context}" cannot be used ({reason}); {how}') from error
        raise UserError(f"{file} names no usable cluster ({reason}): set KUBECONFIG to the file of one") from error


def _contexts(file: str) -> list[str]:
    import kubernetes
    import yaml
    from kubernetes.config import ConfigException

    try:
        found, _ = kubernetes.config.list_kube_config_contexts(file)
    except (ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, KeyError, AttributeError):
        return []
    return [context["name"] for context in found]
