"""What one may choose: where the model runs, which database, how the functions reach AWS."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Compute(StrEnum):
    """Where the embed tasks run."""

    GPU = "gpu"
    GPU_SPOT = "gpu-spot"
    CPU = "cpu"
    CPU_SPOT = "cpu-spot"

    @property
    def is_gpu(self) -> bool:
        """Whether a task has a GPU."""
        return self in {Compute.GPU, Compute.GPU_SPOT}

    @property
    def is_spot(self) -> bool:
        """Whether a task may be taken away at two minutes' notice."""
        return self in {Compute.GPU_SPOT, Compute.CPU_SPOT}


class Database(StrEnum):
    """Which PostgreSQL."""

    #: The cluster that the template makes.
    AURORA = "aurora"
    #: The same with DatabaseMinCapacity=0 and maintenance once an hour, so that it can pause.
    AURORA_PAUSE = "aurora-pause"
    #: One burstable instance of RDS, given to the template by its host.
    RDS = "rds"
    #: One that is there already and costs nothing more.
    GIVEN = "given"

    @property
    def is_aurora(self) -> bool:
        """Whether the template makes it."""
        return self in {Database.AURORA, Database.AURORA_PAUSE}

    @property
    def runs_an_hour(self) -> int:
        """How often maintenance comes."""
        return 1 if self is Database.AURORA_PAUSE else 60


class Network(StrEnum):
    """How functions and tasks in private subnets reach the AWS APIs."""

    NAT = "nat"
    ENDPOINTS = "endpoints"
    #: There already, or the functions are in no VPC.
    NONE = "none"


class Index(StrEnum):
    """How vectors are searched."""

    #: All of a collection are compared: what the schema has today.
    EXACT = "exact"
    HNSW = "hnsw"


@dataclass(frozen=True)
class Choices:
    """What is chosen.

    Attributes
    ----------
    min_tasks
        Embed tasks that always run; None for as few as the time asked for allows.
    value_bytes
        Of one number of a vector: 4 for `vector`, 2 for `halfvec`.
    embed_wait_s
        How long an idle embed task's poll waits: `EMBED_WAIT_S`.
    all_alarms
        Whether AlarmSet is `all`.
    tracing
        Whether X-Ray records the functions.
    free_tier
        Whether what AWS gives away each month is still free in this account.
    """

    compute: Compute = Compute.GPU
    database: Database = Database.AURORA
    network: Network = Network.NAT
    index: Index = Index.EXACT
    value_bytes: int = 4
    min_tasks: int | None = None
    embed_wait_s: float = 5.0
    all_alarms: bool = False
    tracing: bool = True
    free_tier: bool = True
