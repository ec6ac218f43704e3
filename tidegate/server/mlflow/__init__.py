"""MLflow's registry protocol, to read: `models:/ns--name@tier` works in clients that know nothing of us.

A client is told one address, as tracking server or as registry alone (`MLFLOW_REGISTRY_URI`), and shows a token in
`MLFLOW_TRACKING_TOKEN` or as the password of any user. The rules:
(1) a model `ns/name` is `ns--name` there, a version's number is its number, and aliases are the tiers;
(2) whoever may look sees every version with what stands about it; its files go to whoever may pull them;
(3) an artifact URI is absolute: `mlflow-artifacts:/` fails where only the registry is ours;
(4) it names a version by its number, so that a tier that moves meanwhile never mixes two versions in one download;
(5) clients check no digest, so what leaves here was checked here; the version's tags say the digests;
(6) every word of the protocol that would change something is refused, with the command that does it;
(7) statuses after which a client tries again for minutes (500, 503) are for what another try may mend.

Source: research registries.md section 3; mlflow 3.17.2's `mlflow.protos` and `mlflow.store.model_registry.rest_store`.
"""
