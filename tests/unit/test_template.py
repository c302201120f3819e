"""What linters do not know about template.yaml."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from embedpipe.adapters.postgres.sessions import SERVER_OPTIONS
from embedpipe.sql import migrations

from tests.template import Stack, as_list, load_stack

ROOT = Path(__file__).parents[2]
STAGES = ("Chunk", "Embed", "Store")
#: In the order in which the worker serves them.
LANES = ["EmbedHighQueue", "EmbedQueue", "EmbedLowQueue"]
QUEUES = ["ChunkQueue", "ChunkDlq", *LANES, "EmbedDlq", "StoreQueue", "StoreDlq"]
FUNCTIONS = ["ApiFunction", "ChunkFunction", "StoreFunction", "MaintenanceFunction"]
#: Actions on which AWS has no resource to name.
WITHOUT_RESOURCE = {"ecr:GetAuthorizationToken"}
MAPPINGS = "AWS::Lambda::EventSourceMapping"
NONE = {"Ref": "AWS::NoValue"}
KEY = {"Ref": "KmsKeyArn"}


@pytest.fixture(scope="module")
def stack() -> Stack:
    return load_stack()


@pytest.fixture(scope="module")
def container(stack: Stack) -> dict[str, Any]:
    [container] = stack.properties("EmbedTaskDefinition")["ContainerDefinitions"]
    assert isinstance(container, dict)
    return container


def queues_of(stage: str) -> list[str]:
    return LANES if stage == "Embed" else [f"{stage}Queue"]


def mapping_of(stack: Stack, stage: str) -> dict[str, Any]:
    [mapping] = [
        properties
        for properties in stack.of_type(MAPPINGS).values()
        if stack.targets(properties["EventSourceArn"]) == {f"{stage}Queue"}
    ]
    return mapping


# ------------------------------------------------------------------------------------------- queues


def test_the_stack_has_these_queues_and_functions(stack: Stack) -> None:
    assert list(stack.of_type("AWS::SQS::Queue")) == QUEUES
    assert list(stack.of_type("AWS::Serverless::Function")) == FUNCTIONS


@pytest.mark.parametrize("stage", ["Chunk", "Store"])
def test_a_message_stays_hidden_six_times_as_long_as_its_function_runs(
    stack: Stack, stage: str
) -> None:
    visibility = stack.properties(f"{stage}Queue")["VisibilityTimeout"]

    assert visibility >= 6 * stack.function(f"{stage}Function")["Timeout"]


def test_the_worker_extends_by_what_its_queue_hides(
    stack: Stack, container: dict[str, Any]
) -> None:
    environment = {entry["Name"]: entry["Value"] for entry in container["Environment"]}

    visibility = {stack.properties(lane)["VisibilityTimeout"] for lane in LANES}

    assert {int(environment["EMBED_VISIBILITY_S"])} == visibility


def test_the_lanes_of_the_embed_stage_differ_in_nothing_but_their_name(stack: Stack) -> None:
    high, normal, low = (dict(stack.properties(lane)) for lane in LANES)

    names = [stack.text(queue.pop("QueueName")) for queue in (high, normal, low)]

    assert high == normal == low
    assert names == [f"${{AWS::StackName}}-embed{suffix}" for suffix in ("-high", "", "-low")]


@pytest.mark.parametrize("stage", STAGES)
def test_a_queue_gives_up_after_several_receives_into_its_own_dlq(stack: Stack, stage: str) -> None:
    for queue in queues_of(stage):
        redrive = stack.properties(queue)["RedrivePolicy"]

        assert stack.targets(redrive["deadLetterTargetArn"]) == {f"{stage}Dlq"}
        assert redrive["maxReceiveCount"] >= 5


@pytest.mark.parametrize("stage", STAGES)
def test_a_dlq_keeps_longer_than_its_queue_and_takes_from_no_other(
    stack: Stack, stage: str
) -> None:
    dlq = stack.properties(f"{stage}Dlq")
    queues = [stack.properties(queue) for queue in queues_of(stage)]

    allowed = dlq["RedriveAllowPolicy"]

    longest = max(queue["MessageRetentionPeriod"] for queue in queues)
    account = "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:"
    sources = [stack.text(source).removeprefix(account) for source in allowed["sourceQueueArns"]]
    assert dlq["MessageRetentionPeriod"] == 14 * 86_400 > longest
    assert allowed["redrivePermission"] == "byQueue"
    assert sources == [stack.text(queue["QueueName"]) for queue in queues]


@pytest.mark.parametrize("name", QUEUES)
def test_every_queue_is_encrypted_and_polled_long(stack: Stack, name: str) -> None:
    queue = stack.properties(name)

    assert queue["SqsManagedSseEnabled"] == {"Fn::If": ["HasKmsKey", NONE, True]}
    assert queue["KmsMasterKeyId"] == {"Fn::If": ["HasKmsKey", KEY, NONE]}
    assert queue["ReceiveMessageWaitTimeSeconds"] == 20


def test_tls_is_demanded_by_every_queue_and_the_bucket(stack: Stack) -> None:
    denied: set[str] = set()

    for kind, attached in (
        ("AWS::SQS::QueuePolicy", "Queues"),
        ("AWS::S3::BucketPolicy", "Bucket"),
    ):
        for policy in stack.of_type(kind).values():
            [statement] = policy["PolicyDocument"]["Statement"]
            assert statement["Effect"] == "Deny"
            assert statement["Principal"] == "*"
            assert statement["Action"] in ("sqs:*", "s3:*")
            assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
            assert stack.targets(policy[attached]) == stack.targets(statement["Resource"])
            denied |= stack.targets(policy[attached])

    assert denied == {*QUEUES, "ContentBucket"}


@pytest.mark.parametrize("stage", STAGES)
def test_an_alarm_watches_the_depth_of_every_dlq(stack: Stack, stage: str) -> None:
    alarm = stack.properties(f"{stage}DlqAlarm")

    [dimension] = alarm["Dimensions"]

    assert alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
    assert stack.targets(dimension["Value"]) == {f"{stage}Dlq"}
    assert (alarm["Threshold"], alarm["EvaluationPeriods"]) == (1, 1)


# ---------------------------------------------------------------------------------------- functions


@pytest.mark.parametrize("stage", ["Chunk", "Store"])
def test_a_failing_message_fails_alone_and_concurrency_is_bounded(stack: Stack, stage: str) -> None:
    mapping = mapping_of(stack, stage)

    assert stack.targets(mapping["FunctionName"]) == {f"{stage}Function.Alias"}
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BatchSize"] <= 10
    assert int(stack.text(mapping["ScalingConfig"]["MaximumConcurrency"])) >= 2


@pytest.mark.parametrize("stage", ["Chunk", "Store"])
def test_no_reserved_concurrency_undercuts_a_mapping(stack: Stack, stage: str) -> None:
    # It would throttle the pollers, and throttled receives carry healthy messages to the DLQ.
    reserved = stack.function(f"{stage}Function")["ReservedConcurrentExecutions"]

    asked = mapping_of(stack, stage)["ScalingConfig"]["MaximumConcurrency"]

    assert reserved == {"Fn::If": ["Reserves", asked, NONE]}


def test_concurrency_is_reserved_on_demand_only(stack: Stack) -> None:
    reserved = [stack.function(name)["ReservedConcurrentExecutions"] for name in FUNCTIONS]

    assert all(value["Fn::If"][::2] == ["Reserves", NONE] for value in reserved)
    assert stack.document["Parameters"]["ReserveConcurrency"]["Default"] == "false"


def test_a_key_of_ones_own_is_used_wherever_something_is_kept(stack: Stack) -> None:
    kept = {
        "AWS::SQS::Queue": "KmsMasterKeyId",
        "AWS::SecretsManager::Secret": "KmsKeyId",
        "AWS::Logs::LogGroup": "KmsKeyId",
        "AWS::RDS::DBCluster": "KmsKeyId",
    }
    default = stack.properties("ContentBucket")["BucketEncryption"][
        "ServerSideEncryptionConfiguration"
    ][0]["ServerSideEncryptionByDefault"]

    found = [
        properties[name]
        for kind, name in kept.items()
        for properties in stack.of_type(kind).values()
    ]

    assert len(found) > 15
    assert all(value == {"Fn::If": ["HasKmsKey", KEY, NONE]} for value in found)
    assert default["Fn::If"][1]["KMSMasterKeyID"] == KEY
    assert stack.document["Globals"]["Function"]["KmsKeyArn"]["Fn::If"][1] == KEY


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_logs_json_into_a_group_that_forgets(stack: Stack, name: str) -> None:
    logging = stack.function(name)["LoggingConfig"]

    [group] = stack.targets(logging["LogGroup"])

    assert logging["LogFormat"] == "JSON"
    assert "RetentionInDays" in stack.properties(group)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_handler_exists(stack: Stack, name: str) -> None:
    function = stack.function(name)
    module, handler = function["Handler"].split(".")

    tree = ast.parse((ROOT / function["CodeUri"] / f"{module}.py").read_text())

    assert handler in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_maintenance_runs_do_not_overlap_and_are_not_repeated(stack: Stack) -> None:
    function = stack.function("MaintenanceFunction")

    [event] = function["Events"].values()

    assert stack.text(event["Properties"]["Schedule"]) == "rate(1 minute)"
    assert function["Timeout"] < 60
    assert function["EventInvokeConfig"]["MaximumRetryAttempts"] == 0


def test_a_new_layer_is_a_new_version_and_gradual_only_when_asked(stack: Stack) -> None:
    gradual = stack.document["Mappings"]["Deployments"]
    parameter = stack.document["Parameters"]["Deployment"]

    assert stack.properties("PipelineLayer")["PublishLambdaVersion"] is True
    assert list(gradual) == parameter["AllowedValues"]
    assert [kind for kind, row in gradual.items() if row["IsGradual"] == "false"] == ["AllAtOnce"]
    assert parameter["Default"] == "AllAtOnce"
    for name in FUNCTIONS:
        function = stack.function(name)
        assert function["AutoPublishAlias"] == "live"
        assert function["AutoPublishAliasAllProperties"] is True
        assert function["DeploymentPreference"]["Type"] == {"Ref": "Deployment"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_deployment_by_degrees_is_taken_back_when_its_alarms_ring(
    stack: Stack, name: str
) -> None:
    alarms = [
        alarm["Fn::If"][1]["Ref"]
        for alarm in stack.function(name)["DeploymentPreference"]["Alarms"]
    ]

    [errors] = [alarm for alarm in alarms if alarm.endswith("ErrorsAlarm")]
    watched = stack.properties(errors)

    assert watched["MetricName"] == "Errors"
    assert [dimension["Value"] for dimension in watched["Dimensions"]] == [
        {"Ref": name},
        {"Fn::Sub": f"${{{name}}}:live"},
        {"Fn::GetAtt": [name, "Version.Version"]},
    ]
    conditions = [stack.document["Resources"][alarm]["Condition"] for alarm in alarms]
    assert set(conditions) == {"DeploysGradually"}


def test_the_api_takes_no_binary_bodies(stack: Stack) -> None:
    api = stack.properties("Api")

    assert api["EndpointConfiguration"]["Type"] == "REGIONAL"
    assert "BinaryMediaTypes" not in api


# ---------------------------------------------------------------------------------------------- IAM


def test_no_action_is_a_wildcard(stack: Stack) -> None:
    actions = [
        (name, action)
        for name, statement in stack.statements()
        for action in as_list(statement["Action"])
    ]

    assert len(actions) > 20
    assert [(name, action) for name, action in actions if "*" in action] == []


def test_every_resource_is_named_where_aws_lets_us(stack: Stack) -> None:
    unnamed = {
        action
        for _, statement in stack.statements()
        for action in as_list(statement["Action"])
        if "*" in map(stack.text, as_list(statement["Resource"]))
    }

    assert unnamed == WITHOUT_RESOURCE


def test_policy_templates_name_one_queue_or_secret_each(stack: Stack) -> None:
    exact = {"SQSPollerPolicy": "QueueName", "AWSSecretsManagerGetSecretValuePolicy": "SecretArn"}

    for name in FUNCTIONS:
        for policy in stack.function(name)["Policies"]:
            for template in set(policy) - {"Statement"}:
                assert len(stack.targets(policy[template][exact[template]])) == 1


def test_no_event_brings_a_managed_policy_over_all_queues(stack: Stack) -> None:
    kinds = {
        event["Type"]
        for name in FUNCTIONS
        for event in stack.function(name).get("Events", {}).values()
    }

    assert kinds == {"Api", "Schedule"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_may_send_to_the_queues_that_it_is_told_and_no_others(
    stack: Stack, name: str
) -> None:
    variables = stack.function(name)["Environment"]["Variables"]
    told = {stack.text(value) for key, value in variables.items() if key.endswith("_QUEUE_URL")}
    own = {queue for stage in STAGES if name == f"{stage}Function" for queue in queues_of(stage)}
    rejects = {f"{stage}Dlq" for stage in STAGES if name == f"{stage}Function"}

    allowed = {
        target
        for resource, statement in stack.statements()
        if resource == name and "sqs:SendMessage" in as_list(statement["Action"])
        for target in stack.targets(statement["Resource"])
    }

    assert allowed == (told - own) | rejects


@pytest.mark.parametrize("function", FUNCTIONS)
def test_who_sets_controls_may_switch_the_two_event_sources_and_nobody_else_any(
    stack: Stack, function: str
) -> None:
    granted = [
        statement
        for name, statement in stack.statements()
        if name == function
        and any(action.startswith("lambda:") for action in as_list(statement["Action"]))
    ]
    environment = stack.function(function)["Environment"]["Variables"]
    told = {
        name: environment.get(name) for name in ("CHUNK_EVENT_SOURCE_ID", "STORE_EVENT_SOURCE_ID")
    }

    if function not in ("ApiFunction", "MaintenanceFunction"):
        assert (granted, set(told.values())) == ([], {None})
        return
    [statement] = granted
    assert statement["Action"] == [
        "lambda:GetEventSourceMapping",
        "lambda:UpdateEventSourceMapping",
    ]
    prefix = "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:event-source-mapping:"
    assert [stack.text(one) for one in statement["Resource"]] == [
        f"{prefix}${{{stage}EventSource}}" for stage in ("Chunk", "Store")
    ]
    assert [stack.targets(one) for one in told.values()] == [
        {"ChunkEventSource"},
        {"StoreEventSource"},
    ]
    assert set(stack.of_type(MAPPINGS)) == {"ChunkEventSource", "StoreEventSource"}


def test_only_maintenance_has_the_maintenance_role(stack: Stack) -> None:
    holders = {
        name
        for name in FUNCTIONS
        if "MaintenanceDatabaseSecret" in stack.targets(stack.function(name)["Policies"])
    }

    assert holders == {"MaintenanceFunction"}


# --------------------------------------------------------------------------------------- embed task


def test_the_embed_container_can_do_little(container: dict[str, Any]) -> None:
    user, group = map(int, container["User"].split(":"))

    assert user > 0
    assert group > 0
    assert container["ReadonlyRootFilesystem"] is True
    assert container["Privileged"] is False
    assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}


def test_the_embed_container_stops_in_order(container: dict[str, Any]) -> None:
    environment = {entry["Name"]: entry["Value"] for entry in container["Environment"]}

    assert container["LinuxParameters"]["InitProcessEnabled"] is True
    assert float(environment["EMBED_STOP_TIMEOUT_S"]) < container["StopTimeout"] == 120


def test_the_embed_image_is_named_by_digest(stack: Stack, container: dict[str, Any]) -> None:
    pattern = stack.document["Parameters"]["EmbedImageDigest"]["AllowedPattern"]

    assert container["Image"]["Fn::Sub"].endswith("@${EmbedImageDigest}")
    assert re.fullmatch(pattern, "sha256:" + "0" * 64)
    assert not re.fullmatch(pattern, "latest")


def test_the_embed_task_has_one_gpu_and_its_logs_a_group(
    stack: Stack, container: dict[str, Any]
) -> None:
    log = container["LogConfiguration"]

    [group] = stack.targets(log["Options"]["awslogs-group"])

    gpu = {"Type": "GPU", "Value": "1"}
    assert container["ResourceRequirements"] == [{"Fn::If": ["EmbedOnCpu", NONE, gpu]}]
    assert log["LogDriver"] == "awslogs"
    assert "RetentionInDays" in stack.properties(group)


def test_a_bad_deployment_of_the_embed_service_is_taken_back(stack: Stack) -> None:
    deployment = stack.properties("EmbedService")["DeploymentConfiguration"]

    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}


def test_the_embed_service_scales_from_zero_on_backlog_and_back(stack: Stack) -> None:
    from_zero = stack.properties("EmbedFromZeroAlarm")
    target = stack.properties("EmbedBacklogPolicy")["TargetTrackingScalingPolicyConfiguration"]

    assert stack.document["Parameters"]["EmbedMinTasks"]["Default"] == 0
    assert from_zero["Threshold"] == 1
    assert stack.targets(from_zero["AlarmActions"]) == {"EmbedFromZeroPolicy"}
    assert "EmbedBacklogPerTask" in stack.targets(target["TargetValue"])
    assert stack.targets(stack.properties("EmbedIdleAlarm")["AlarmActions"]) == {
        "EmbedToZeroPolicy"
    }
    assert "DesiredCount" not in stack.properties("EmbedService")


@pytest.mark.parametrize("name", ["EmbedFromZeroAlarm", "EmbedIdleAlarm", "EmbedBacklogPolicy"])
def test_scaling_looks_at_all_lanes_together(stack: Stack, name: str) -> None:
    metrics = scaling_metrics(stack, name)

    counted = {
        metric["Id"]: stack.targets(metric["MetricStat"]["Metric"]["Dimensions"])
        for metric in metrics
        if metric.get("MetricStat", {}).get("Metric", {}).get("Namespace") == "AWS/SQS"
    }
    [total] = [one["Expression"] for one in metrics if "SUM([high" in one.get("Expression", "")]

    assert set.union(*counted.values()) == set(LANES)
    assert set(re.findall(r"[a-z_]+", total)) == set(counted)
    assert sum("MetricStat" in metric for metric in metrics) <= 10  # what an alarm may hold


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        ("EmbedFromZeroAlarm", "known"),
        ("EmbedBacklogPolicy", "backlog"),
    ],
)
def test_a_count_of_tasks_that_comes_late_is_not_taken_for_zero(
    stack: Stack, name: str, expression: str
) -> None:
    expressions = {one["Id"]: one.get("Expression") for one in scaling_metrics(stack, name)}

    assert "FILL(wanted, REPEAT)" in str(expressions[expression])


def test_the_first_task_has_time_to_start_before_another_is_added(stack: Stack) -> None:
    # Its alarm rings until a task runs, as nothing counts tasks before.
    step = stack.properties("EmbedFromZeroPolicy")["StepScalingPolicyConfiguration"]

    assert step["Cooldown"] >= 307 + 3 * 60  # what a GPU took, and the minutes of its count


def test_tracking_divides_by_the_count_that_it_sets(stack: Stack) -> None:
    # By running tasks, the same backlog would multiply the wanted count again while tasks start.
    [count] = [
        query["MetricStat"]["Metric"]["MetricName"]
        for query in scaling_metrics(stack, "EmbedBacklogPolicy")
        if "MetricStat" in query and query["MetricStat"]["Metric"]["Namespace"] != "AWS/SQS"
    ]

    assert count == "DesiredTaskCount"
    assert stack.properties("EmbedScaling")["ScalableDimension"] == "ecs:service:DesiredCount"


def test_idle_means_no_message_in_any_state_in_any_lane(stack: Stack) -> None:
    counted = {
        (lane, metric["MetricStat"]["Metric"]["MetricName"])
        for metric in scaling_metrics(stack, "EmbedIdleAlarm")
        if "MetricStat" in metric
        for lane in stack.targets(metric["MetricStat"]["Metric"]["Dimensions"])
    }

    states = {
        f"ApproximateNumberOfMessages{state}" for state in ("Visible", "NotVisible", "Delayed")
    }
    assert counted == {(lane, state) for lane in LANES for state in states}


def scaling_metrics(stack: Stack, name: str) -> list[dict[str, Any]]:
    properties = stack.properties(name)
    policy = properties.get("TargetTrackingScalingPolicyConfiguration", {})
    holder = policy.get("CustomizedMetricSpecification", properties)
    metrics = holder["Metrics"]
    assert isinstance(metrics, list)
    assert [metric["Id"] for metric in metrics if metric["ReturnData"]] == [metrics[-1]["Id"]]
    return metrics


def test_the_task_receives_from_every_lane_and_sends_to_none(stack: Stack) -> None:
    allowed = {
        action: stack.targets(statement["Resource"])
        for name, statement in stack.statements()
        if name == "EmbedTaskRole"
        for action in as_list(statement["Action"])
    }

    assert allowed["sqs:ReceiveMessage"] == allowed["sqs:DeleteMessage"] == set(LANES)
    assert allowed["sqs:ChangeMessageVisibility"] == set(LANES)
    assert allowed["sqs:SendMessage"] == {"StoreQueue", "EmbedDlq"}


# --------------------------------------------------------------------------------- bucket, database


def test_the_bucket_is_private_encrypted_and_forgets_claim_checks(stack: Stack) -> None:
    bucket = stack.properties("ContentBucket")
    longest_s = 2 * stack.properties("ChunkDlq")["MessageRetentionPeriod"]

    rules = {rule["Id"]: rule for rule in bucket["LifecycleConfiguration"]["Rules"]}

    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert "BucketEncryption" in bucket
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert rules["claim-checks"]["Prefix"] == "messages/"
    assert rules["claim-checks"]["ExpirationInDays"] * 86_400 >= longest_s
    assert [name for name, rule in rules.items() if "ExpirationInDays" in rule] == ["claim-checks"]


def test_the_database_is_encrypted_private_and_kept(stack: Stack) -> None:
    cluster = stack.properties("Database")

    assert cluster["StorageEncrypted"] is True
    assert cluster["DeletionProtection"] is True
    assert cluster["ManageMasterUserPassword"] is True
    assert stack.properties("DatabaseParameters")["Parameters"]["rds.force_ssl"] == "1"
    assert stack.properties("DatabaseInstance")["PubliclyAccessible"] is False
    assert stack.document["Resources"]["Database"]["DeletionPolicy"] == "Snapshot"


def test_roles_have_what_connections_cannot_ask_a_proxy_for(stack: Stack) -> None:
    told = stack.document["Globals"]["Function"]["Environment"]["Variables"]
    [timeouts] = [one.up for one in migrations() if one.name == "role_timeouts"]

    set_for_roles = re.findall(r"'(\w+) = (\d+)'", timeouts)

    assert set_for_roles == re.findall(r"-c (\w+)=(\d+)", SERVER_OPTIONS)
    assert told["PGVECTOR_STARTUP_OPTIONS"] == {"Fn::If": ["CreateProxy", "false", "true"]}
    assert stack.targets(told["DATABASE_HOST"]["Fn::If"][1]) == {"DatabaseProxy"}


def test_a_proxy_and_a_pause_exclude_each_other(stack: Stack) -> None:
    rules = stack.document["Rules"]
    pauses = {"Fn::Equals": [{"Ref": "DatabaseMinCapacity"}, "0"]}

    proxied = [rule["Assert"] for rule in rules["ProxyOrPause"]["Assertions"]]

    assert {"Fn::Not": [pauses]} in proxied
    assert rules["PauseNeedsQuiet"]["RuleCondition"] == pauses
    assert stack.document["Conditions"]["DatabasePauses"] == pauses


def test_the_embed_service_waits_for_every_way_out_of_a_new_vpc(stack: Stack) -> None:
    resources = stack.document["Resources"]
    waits_for = {
        branch["Ref"]: condition
        for condition, branch, _ in (
            one["Fn::If"] for one in resources["EmbedService"]["Metadata"]["AfterWaysOut"]
        )
    }

    ways_out = {
        name: resource["Condition"]
        for name, resource in resources.items()
        if resource["Type"]
        in ("AWS::EC2::Route", "AWS::EC2::SubnetRouteTableAssociation", "AWS::EC2::VPCEndpoint")
    }

    functions_only = {"LambdaEndpoint", "XRayEndpoint"}
    assert waits_for == {name: ways_out[name] for name in ways_out.keys() - functions_only}


def test_a_new_vpc_is_where_everything_runs(stack: Stack) -> None:
    new = {"Fn::If": ["CreateVpc", [{"Ref": "SubnetA"}, {"Ref": "SubnetB"}], {"Ref": "SubnetIds"}]}
    in_vpc = stack.document["Globals"]["Function"]["VpcConfig"]["Fn::If"][1]
    service = stack.properties("EmbedService")["NetworkConfiguration"]["AwsvpcConfiguration"]
    provider = stack.properties("EmbedCapacityProvider")["ManagedInstancesProvider"]
    network = provider["InstanceLaunchTemplate"]["NetworkConfiguration"]

    assert in_vpc["SubnetIds"] == service["Subnets"] == network["Subnets"] == new
    assert stack.properties("DatabaseSubnets")["SubnetIds"] == new
    assert stack.properties("DatabaseProxy")["VpcSubnetIds"] == new
    made = [
        name
        for name, resource in stack.document["Resources"].items()
        if resource["Type"].startswith("AWS::EC2::") and "SecurityGroup" not in resource["Type"]
    ]
    conditions = {stack.document["Resources"][name]["Condition"] for name in made}
    assert len(made) > 15
    assert conditions == {
        *("CreateVpc", "CreateNat", "CreateEndpoints", "CreateEndpointsAndEmbedService")
    }


def test_the_cheap_start_makes_nothing_that_costs_by_the_hour(stack: Stack) -> None:
    defaults = {
        name: parameter.get("Default") for name, parameter in stack.document["Parameters"].items()
    }

    assert {
        name: defaults[name]
        for name in ("NewVpc", "DatabaseProxyEnabled", "EmbedImageDigest", "EmbedMinTasks")
    } == {
        "NewVpc": "none",
        "DatabaseProxyEnabled": "false",
        "EmbedImageDigest": "",
        "EmbedMinTasks": 0,
    }


def test_every_finding_that_is_let_pass_has_its_reason_beside_it(stack: Stack) -> None:
    skipped = [
        skip
        for resource in stack.document["Resources"].values()
        for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", [])
    ]

    assert skipped
    assert all(re.fullmatch(r"CKV2?_AWS_\d+", skip["id"]) for skip in skipped)
    assert all(len(skip["comment"].split()) >= 5 for skip in skipped)
    page = (ROOT / "docs/security.md").read_text()
    assert set(re.findall(r"^\| (CKV\w+),", page, re.MULTILINE)) == {skip["id"] for skip in skipped}


def test_what_needs_a_condition_has_it(stack: Stack) -> None:
    resources = stack.document["Resources"]
    embed_only = [
        name
        for name, resource in resources.items()
        if resource["Type"].startswith(("AWS::ECS::", "AWS::ServiceDiscovery::"))
    ]

    assert len(embed_only) >= 6
    conditions = {resources[name]["Condition"] for name in embed_only}
    assert conditions == {"CreateEmbedService", "CreateGpuCapacity"}
    assert resources["Database"]["Condition"] == "CreateDatabase"


def test_the_outputs_name_what_operators_need(stack: Stack) -> None:
    outputs = set(stack.document["Outputs"])

    assert outputs >= {"ApiUrl", "ContentBucketName", "ApiKeySecretArn", "DatabaseEndpoint"}
    assert outputs >= {f"{name}Url" for name in QUEUES}
