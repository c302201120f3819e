from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest
from embedpipe.local.errors import LocalCloudError
from embedpipe.local.intrinsics import UNKNOWN, Resolver
from embedpipe.local.template import Template
from embedpipe.local.variables import EVENT_SOURCES

PROJECT = Path(__file__).resolve().parents[3]

TEMPLATE = """
    Parameters:
      Level: {Type: String, Default: INFO}
      Seconds: {Type: Number, Default: 20}
      Given: {Type: String}
    Conditions:
      IsLoud: !Equals [!Ref Level, DEBUG]
    Globals:
      Function:
        Handler: app.lambda_handler
        Timeout: 7
        Environment: {Variables: {LEVEL: !Ref Level, QUEUE: !Ref WorkQueue, GIVEN: !Ref Given}}
    Resources:
      Api:
        Type: AWS::Serverless::Api
        Properties: {BinaryMediaTypes: [image~1png]}
      WorkQueue:
        Type: AWS::SQS::Queue
        Properties:
          VisibilityTimeout: !Ref Seconds
          KmsMasterKeyId: !Ref Key
          RedrivePolicy: {deadLetterTargetArn: !GetAtt WorkDlq.Arn, maxReceiveCount: 3}
      WorkDlq:
        Type: AWS::SQS::Queue
      WorkFunction:
        Type: AWS::Serverless::Function
        Properties:
          CodeUri: functions/work/
          MemorySize: 256
          Environment: {Variables: {EXTRA: !Sub "${Level}-${AWS::Region}"}}
          Events:
            Queue:
              Type: SQS
              Properties: {Queue: !GetAtt WorkQueue.Arn, BatchSize: 5}
            Often:
              Type: ScheduleV2
              Properties: {ScheduleExpression: rate(5 minutes), Input: '{"what": "sweep"}'}
            Nightly:
              Type: Schedule
              Properties: {Schedule: "cron(0 3 * * ? *)"}
      WorkSource:
        Type: AWS::Lambda::EventSourceMapping
        Properties:
          FunctionName: !Ref WorkFunction
          EventSourceArn: !GetAtt WorkDlq.Arn
          FunctionResponseTypes: [ReportBatchItemFailures]
          MaximumBatchingWindowInSeconds: 2
          ScalingConfig: {MaximumConcurrency: 4}
"""


@pytest.fixture
def template(tmp_path: Path) -> Template:
    path = tmp_path / "template.yaml"
    path.write_text(dedent(TEMPLATE))
    return Template.load(path)


def test_queue_attributes_are_those_that_create_queue_takes(template: Template) -> None:
    attributes = template.queue_attributes("WorkQueue")

    redrive = json.loads(attributes.pop("RedrivePolicy"))
    assert attributes == {"VisibilityTimeout": "20"}
    assert redrive == {
        "deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:embedpipe-work-dlq",
        "maxReceiveCount": 3,
    }


def test_a_function_has_its_defaults_sources_and_rates(template: Template) -> None:
    function = template.functions()["work"]

    own, mapped = function.event_sources
    [schedule] = function.schedules
    assert (function.code, function.handler) == ("functions/work/", "app.lambda_handler")
    assert (function.timeout_s, function.memory_mb) == (7.0, 256)
    assert function.environment == {"LEVEL": "INFO", "EXTRA": "INFO-us-east-1"}
    assert (own.queue, own.batch_size, own.reports_failures) == ("WorkQueue", 5, False)
    assert (mapped.queue, mapped.window_s, mapped.max_concurrency) == ("WorkDlq", 2.0, 4)
    assert mapped.reports_failures
    assert (schedule.rate_s, schedule.input) == (300, '{"what": "sweep"}')


def test_binary_media_types_are_read(template: Template) -> None:
    assert template.binary_media_types() == ["image/png"]


def test_intrinsic_functions_are_evaluated() -> None:
    document = {
        "Parameters": {"Name": {"Default": "x"}},
        "Conditions": {"IsX": {"Fn::Equals": [{"Ref": "Name"}, "x"]}},
        "Mappings": {"Sizes": {"small": {"cpu": 2}}},
    }
    resolve = Resolver(document, {"Bucket.Arn": "arn:b"}).resolve

    assert resolve({"Fn::If": ["IsX", {"Fn::Join": ["-", ["a", {"Ref": "Name"}]]}, "no"]}) == "a-x"
    assert resolve({"Fn::FindInMap": ["Sizes", "small", "cpu"]}) == 2
    assert resolve({"Fn::Sub": ["${a}${Bucket.Arn}${!kept}", {"a": "1"}]}) == "1arn:b${kept}"
    assert resolve({"Fn::Not": [{"Condition": "IsX"}]}) is False
    assert resolve({"Fn::ImportValue": "there"}) is UNKNOWN
    assert resolve([{"Ref": "Nothing"}, 1]) == [1]


def test_a_missing_template_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LocalCloudError) as caught:
        Template.load(tmp_path / "template.yaml")

    assert "--project" in caught.value.hint


def test_the_project_s_own_template_has_what_the_local_cloud_plays() -> None:
    template = Template.load(PROJECT / "template.yaml")

    functions = template.functions()
    assert {"api", "chunk", "store", "maintenance"} <= set(functions)
    assert {"ChunkQueue", "ChunkDlq", "EmbedQueue", "EmbedDlq", "StoreQueue", "StoreDlq"} <= set(
        template.queues
    )
    lanes = ("EmbedHighQueue", "EmbedQueue", "EmbedLowQueue")
    assert [template.queues[lane].name for lane in lanes] == [
        "embedpipe-embed-high",
        "embedpipe-embed",
        "embedpipe-embed-low",
    ]
    allowed = json.loads(template.queue_attributes("EmbedDlq")["RedriveAllowPolicy"])
    assert allowed["sourceQueueArns"] == [template.queues[lane].arn for lane in lanes]
    assert set(template.event_source_ids()) == set(EVENT_SOURCES.values())
    assert functions["chunk"].event_sources[0].queue == "ChunkQueue"
    assert functions["store"].event_sources[0].reports_failures
    assert functions["maintenance"].schedules
