"""A stack of the template on an emulator of AWS: deployed by `sam deploy`, and asked things."""

from __future__ import annotations

import os
import subprocess
from contextlib import AbstractContextManager, closing
from functools import cached_property
from pathlib import Path
from typing import Any

from embedpipe.local import intrinsics
from embedpipe.local.emulator import CREDENTIALS
from embedpipe.local.emulator import client as aws_client
from embedpipe.local.template import REGION

from tests.e2e.client import Client, Queues

ROOT = Path(__file__).resolve().parents[2]
SAM = ROOT / ".venv-sam" / "bin" / "sam"
TEMPLATE = ROOT / ".aws-sam" / "build" / "template.yaml"
NAME = "deployed"
SAM_TIMEOUT_S = 300


class Stack:
    """One stack.

    Parameters
    ----------
    endpoint_url
        Where the emulator answers.
    directory
        Where logs go.
    """

    def __init__(self, endpoint_url: str, directory: Path) -> None:
        self.endpoint_url = endpoint_url
        self.directory = directory
        self.parameters: dict[str, str] = {}

    def deploy(self, parameters: dict[str, str]) -> None:
        """Deploy what `sam build` has built."""
        self._sam(
            "deploy",
            *("--template-file", str(TEMPLATE)),
            *("--resolve-s3", "--capabilities", "CAPABILITY_IAM"),
            *("--no-confirm-changeset", "--no-progressbar"),
            *("--parameter-overrides", *(f"{key}={value}" for key, value in parameters.items())),
        )
        self.parameters = parameters

    def delete(self) -> None:
        """Delete the stack as its owner would."""
        self._sam("delete", "--no-prompts")

    @property
    def url(self) -> str:
        """Where its REST API answers; the host in the outputs is AWS's."""
        return f"{self.endpoint_url}/_aws/execute-api/{self.resources['Api']}/live"

    @cached_property
    def resources(self) -> dict[str, str]:
        """The physical ids of its resources, by their logical ones; some on emulators have none."""
        return {
            one["LogicalResourceId"]: one["PhysicalResourceId"]
            for one in self.summaries()
            if "PhysicalResourceId" in one
        }

    def summaries(self) -> list[dict[str, Any]]:
        """List its resources as CloudFormation does."""
        pages = self.aws("cloudformation").get_paginator("list_stack_resources")
        return [
            one for page in pages.paginate(StackName=NAME) for one in page["StackResourceSummaries"]
        ]

    def wanted(self) -> list[str]:
        """Give the logical ids of what the template makes with these parameters."""
        document = intrinsics.load(TEMPLATE)
        resolver = intrinsics.Resolver(document, self.parameters)
        return [
            name
            for name, one in document["Resources"].items()
            if "Condition" not in one or resolver.resolve({"Condition": one["Condition"]})
        ]

    def aws(self, service: str) -> Any:
        """Make a client of a service of the emulator."""
        return aws_client(service, self.endpoint_url)

    def secret(self, logical_id: str) -> str:
        """Read a secret of the stack."""
        answer = self.aws("secretsmanager").get_secret_value(SecretId=self.resources[logical_id])
        value: str = answer["SecretString"]
        return value

    def api_key(self) -> str:
        """Give the key that the stack made."""
        return self.secret("ApiKeySecret")

    def client(self, key: str | None = None) -> AbstractContextManager[Client]:
        """Make a client; with the right API key, if no other is given."""
        return closing(Client(self.url, key or self.api_key()))

    def queues(self) -> AbstractContextManager[Queues]:
        """Make a client of its queues."""
        document = intrinsics.load(TEMPLATE)["Resources"]
        names = [name for name, one in document.items() if one["Type"] == "AWS::SQS::Queue"]
        return closing(Queues(self.endpoint_url, {name: self.resources[name] for name in names}))

    def task_environment(self) -> dict[str, str]:
        """Give what the task definition would give the embed task of this very stack."""
        document = intrinsics.load(TEMPLATE)
        known = {**self.parameters, **self.resources, "AWS::StackName": NAME}
        definition = document["Resources"]["EmbedTaskDefinition"]["Properties"]
        [container] = intrinsics.Resolver(document, known).resolve(
            definition["ContainerDefinitions"]
        )
        return {one["Name"]: str(one["Value"]) for one in container["Environment"]}

    def beside_aws(self) -> dict[str, str]:
        """Give the variables that lead a process to the emulator."""
        return {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def _sam(self, verb: str, *arguments: str) -> None:
        done = subprocess.run(
            [SAM, verb, "--stack-name", NAME, "--region", REGION, *arguments],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "SAM_CLI_TELEMETRY": "0", "HOME": str(self.directory)}
            | self.beside_aws(),
            capture_output=True,
            text=True,
            timeout=SAM_TIMEOUT_S,
            check=False,
        )
        (self.directory / f"sam-{verb}.log").write_text(done.stdout + done.stderr)
        assert done.returncode == 0, f"sam {verb}: {(done.stdout + done.stderr)[-3000:]}"
