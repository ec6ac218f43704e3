"""What somebody who trains does at an MLflow server: a run with figures, its model logged and registered.

    PYTHON mlflow_seed.py < wanted.json > made.json

Run by the Python of MLflow's own environment. `marker`: also register a version with a `code` folder whose file
would write it, if anybody ran it.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.models import Model
from mlflow.models.signature import infer_signature


def main(wanted: dict[str, Any]) -> dict[str, Any]:
    mlflow.set_tracking_uri(wanted["url"])
    mlflow.set_experiment(wanted.get("experiment", "tuning"))
    client, name = MlflowClient(), wanted["model"]
    client.create_registered_model(name)
    with mlflow.start_run(run_name="sft-7") as run, tempfile.TemporaryDirectory() as folder:
        mlflow.log_params({"lr": "2e-5", "epochs": 3, "Größe": "klein"})
        for step in range(5):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.set_tag("team", "ops")
        top = Path(folder) / "model"
        top.mkdir()
        signature = infer_signature(["hello"], ["world"])
        card = Model(run_id=run.info.run_id, signature=signature)
        card.add_flavor("transformers", task="text-generation")
        card.save(str(top / "MLmodel"))
        (top / "conda.yaml").write_text("name: env\n")
        (top / "requirements.txt").write_text("mlflow\n")
        shutil.copytree(wanted["source"], top / "model")
        mlflow.log_artifacts(str(top), "model")
        uri = f"{run.info.artifact_uri}/model"
        version = client.create_model_version(name, uri, run.info.run_id, tags={"reviewed": "yes"})
        client.set_registered_model_alias(name, "champion", version.version)
        if "marker" in wanted:
            (top / "code").mkdir()
            (top / "code" / "loader.py").write_text(f"open({wanted['marker']!r}, 'w')\n")
            mlflow.log_artifacts(str(top), "coded")
            uri = f"{run.info.artifact_uri}/coded"
            client.create_model_version(name, uri, run.info.run_id)
    return {"run": run.info.run_id, "experiment": run.info.experiment_id}


if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps(main(json.load(sys.stdin)))}\n")
