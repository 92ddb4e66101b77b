"""What `monitor_performance` can be asked for, and the callables that are no plain functions."""

from __future__ import annotations

import asyncio
import functools
import inspect
import pickle
import time

import cloudpickle
import pytest

from codoperf_otel._calls import recording
from codoperf_otel._calls.sites import FIRST, SpanRate
from codoperf_otel.agents import tool
from codoperf_otel.performance_monitor import (
    PerformanceMonitor,
    current_operation,
    get_performance_stats,
    monitor_performance,
    performance_context,
)


def test_partial_is_named_after_its_function(telemetry):
    """A partial can be monitored, under the name of the function in it."""

    def power(base, exponent):
        return base**exponent

    assert monitor_performance(functools.partial(power, exponent=2))(3) == 9
    (span,) = telemetry.spans()
    assert span.name.endswith("power")


def test_callable_object_is_named_after_its_class(telemetry):
    """An object with `__call__` can be monitored, of either kind."""

    class Doubler:
        def __call__(self, value):
            return 2 * value

    class Later:
        async def __call__(self, value):
            await asyncio.sleep(0)
            return 2 * value

    assert monitor_performance(Doubler())(2) == 4
    later = monitor_performance(Later())
    assert inspect.iscoroutinefunction(later)
    assert asyncio.run(later(2)) == 4
    assert [span.name.split(".")[-1] for span in telemetry.spans()] == ["Doubler", "Later"]


def test_public_methods_of_a_class_are_monitored(telemetry):
    """On a class the decorator monitors what the class itself defines in public."""

    @monitor_performance("service")
    class Service:
        def load(self):
            return self._hidden()

        @staticmethod
        def parse():
            return 1

        @classmethod
        def make(cls):
            return cls()

        def _hidden(self):
            return 2

    assert (Service.make().load(), Service.parse()) == (2, 1)
    assert [span.name for span in telemetry.spans()] == ["service.make", "service.load", "service.parse"]


def test_function_that_gives_a_coroutine_lasts_until_it_is_awaited(telemetry):
    """The call of a plain function that gives a coroutine is over when the coroutine is."""

    async def work():
        await asyncio.sleep(0.01)
        return 5

    @monitor_performance("starts")
    def starts():
        return work()

    async def main():
        return await starts()

    assert asyncio.run(main()) == 5
    span = telemetry.span("starts")
    assert span.attributes["codoperf.suspended.time"] > 0.009
    assert span.end_time - span.start_time > 9_000_000


def test_function_that_gives_a_task_lasts_until_it_is_done(telemetry):
    """A task given back is that very task; the call ends with it, failed if it failed."""

    async def fails():
        await asyncio.sleep(0.01)
        raise KeyError("x")

    @monitor_performance("spawns")
    def spawns():
        return asyncio.get_running_loop().create_task(fails())

    async def main():
        task = spawns()
        assert isinstance(task, asyncio.Task)
        with pytest.raises(KeyError):
            await task
        await asyncio.sleep(0)

    asyncio.run(main())
    assert telemetry.span("spawns").attributes["error.type"] == "KeyError"


def test_nothing_is_captured_unless_named(telemetry):
    """Arguments and results stay in the process by default."""

    @monitor_performance("quiet")
    def quiet(secret):
        return secret

    quiet("hunter2")
    assert "hunter2" not in str(telemetry.span("quiet").to_json())


def test_captured_arguments_and_result(telemetry):
    """What is named goes on the span: plain values as they are, others as text, long ones cut."""

    @monitor_performance("call", capture=("limit", "path", "options", "return"))
    def call(path, limit=10, **options):
        return path * 2

    call("p" * 200, depth=[1])
    attributes = telemetry.span("call").attributes
    assert attributes["codoperf.argument.limit"] == 10
    assert attributes["codoperf.argument.path"] == "p" * 200
    assert attributes["codoperf.argument.options"] == "{'depth': [1]}"
    assert len(attributes["codoperf.result"]) == 256


def test_captured_values_are_redacted(telemetry):
    """The redaction hook sees name and value, and what it gives is shown; its failure costs the value."""

    def redact(name, value):
        if name == "broken":
            raise ValueError(value)
        return "***" if name == "token" else value

    @monitor_performance("call", capture=("token", "user", "broken"), redact=redact)
    def call(token, user, broken):
        pass

    call("s3cret", "ann", "s3cret")
    attributes = telemetry.span("call").attributes
    assert attributes["codoperf.argument.token"] == "***"
    assert attributes["codoperf.argument.user"] == "ann"
    assert "s3cret" not in str(attributes)


def test_capture_of_an_unknown_parameter_is_refused():
    """A name that is no parameter is one clear error at decoration."""
    with pytest.raises(ValueError, match=r"capture: .* no parameter nothing; allowed are path, return"):

        @monitor_performance(capture=("nothing",))
        def call(path):
            pass


@pytest.mark.parametrize("kind", ["coroutine", "generator"])
def test_captured_arguments_of_other_kinds(telemetry, kind):
    """Coroutines and generators show their arguments too."""

    @monitor_performance("coroutine", capture=("value", "return"))
    async def coroutine(value):
        return value + 1

    @monitor_performance("generator", capture=("value",))
    def generator(value):
        yield value

    asyncio.run(coroutine(1))
    list(generator(1))
    assert telemetry.span(kind).attributes["codoperf.argument.value"] == 1
    assert telemetry.span("coroutine").attributes["codoperf.result"] == 2


def test_current_operation_says_more_of_the_call(telemetry):
    """Attributes set in a call are on its own span; outside any call nothing happens."""
    current_operation().set("nowhere", 1)
    with performance_context("outer"):
        with performance_context("inner"):
            current_operation().set("rows", 5)
        current_operation().set("rows", 7)
    assert telemetry.span("inner").attributes["rows"] == 5
    assert telemetry.span("outer").attributes["rows"] == 7


def test_memory_on_request(telemetry):
    """A function shows the process's memory only where it was asked for."""

    @monitor_performance("with", memory=True)
    def asked():
        pass

    @monitor_performance("without")
    def plain():
        pass

    asked()
    plain()
    assert telemetry.span("with").attributes["codoperf.process.memory.peak"] > 0
    assert "codoperf.process.memory.peak" not in telemetry.span("without").attributes


def test_functions_with_a_rate_together_have_their_first_spans_each():
    """What is called seldom has its spans, whatever others used up of the rate that all share."""
    together = SpanRate(0.01)
    often, seldom = SpanRate(100, together), SpanRate(100, together)
    assert sum(often.allows(SECOND) for _ in range(100)) == FIRST + 1
    assert sum(seldom.allows(SECOND) for _ in range(100)) == FIRST
    assert (often.refused, seldom.refused) == (99 - FIRST, 100 - FIRST)


def test_span_rate_bounds_spans_and_counts_stay_exact(telemetry, monkeypatch):
    """Above the rate calls have no span; the metric and the statistics count every one."""
    monitor, started_ns = PerformanceMonitor(), time.perf_counter_ns()
    monkeypatch.setattr(recording, "perf_counter_ns", lambda: started_ns)  # all within a second

    @monitor_performance("hot", monitor, max_spans_per_second=5)
    def hot():
        pass

    for _ in range(200):
        hot()
    assert len(telemetry.spans("hot")) == 5
    assert list(telemetry.values("codoperf.function.duration").values()) == [200]
    assert monitor.get_stats("hot")["total_calls"] == 200


SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("per_second", "seconds"),
    [(0.5, [0, 2, 4, 6, 8]), (0.8, [0, 1.25, 2.5, 3.75, 5, 6.25, 7.5, 8.75]), (1, list(range(10)))],
)
def test_a_low_rate_is_one_span_in_so_many_seconds(per_second, seconds):
    """With a call every 10 ms over 10 s the spans come as evenly as the rate says."""
    rate, start = SpanRate(per_second), 5 * SECOND
    allowed = [at / 100 for at in range(1000) if rate.allows(start + at * SECOND // 100)]
    assert allowed == pytest.approx(seconds, abs=0.08)


def test_a_rate_goes_to_another_machine_without_its_clock():
    """Where a machine's clock began later than this one's, a pickled rate allows spans at once."""
    rate = SpanRate(1)
    assert rate.allows(1000 * SECOND)
    assert pickle.loads(pickle.dumps(rate)).allows(10 * SECOND)


def test_call_over_the_rate_hands_its_parent_on(telemetry):
    """What a call without a span calls is parented to the nearest span there is."""

    @monitor_performance("leaf")
    def leaf():
        pass

    @monitor_performance("middle", max_spans_per_second=0.001)
    def middle():
        leaf()

    with performance_context("root"):
        middle()
        middle()
    assert [telemetry.parent(span) for span in telemetry.spans("leaf")] == ["middle", "root"]


def test_quick_calls_have_no_span_and_slow_ones_their_true_times(telemetry):
    """Below the duration there is no span; above it the span has the true start, end and parent."""

    @monitor_performance("leaf", min_span_duration=0.5)  # as no quick call takes
    def leaf(seconds):
        time.sleep(seconds)

    with performance_context("root"):
        leaf(0)
        before = time.thread_time()
        leaf(0.5)
        spent = time.thread_time() - before
    span = telemetry.span("leaf")
    assert span.end_time - span.start_time >= 500_000_000
    assert telemetry.parent(span) == "root"
    assert span.attributes["codoperf.cpu.time"] <= spent
    assert get_performance_stats("leaf")["total_calls"] >= 2


def test_quick_call_that_fails_has_its_span(telemetry):
    """A failure is shown however quick it was."""

    @monitor_performance("leaf", min_span_duration=10)
    def leaf():
        raise KeyError

    with pytest.raises(KeyError):
        leaf()
    assert telemetry.span("leaf").attributes["error.type"] == "KeyError"


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("max_spans_per_second", 0, "a number above 0"),
        ("max_spans_per_second", 10**400, "a number above 0"),
        ("min_span_duration", -1, "a number above 0"),
        ("min_span_duration", "x", "a number above 0"),
        ("capture", None, "a tuple of names"),
        ("capture", "obj", "a tuple of names"),
        ("capture", b"obj", "a tuple of names"),
    ],
)
def test_wrong_option_is_one_clear_error(option, value, allowed):
    """A wrong option names itself, its value and what is allowed."""
    with pytest.raises(ValueError, match=f"^{option} is {value!r}: it must be {allowed}$"):
        monitor_performance(**{option: value})(len)


def test_a_redaction_is_a_function():
    """Anything else is refused at decoration, not where a call is to be shown."""
    with pytest.raises(ValueError, match=r"^redact is 'x': it must be a function of a name and a value$"):
        monitor_performance(capture=("obj",), redact="x")(len)


@pytest.mark.parametrize("monitor", ["x", 0, [], PerformanceMonitor])
def test_a_monitor_is_one(monitor):
    """Anything else is refused at decoration: no call fails for it, and none is counted elsewhere."""
    with pytest.raises(TypeError, match=r"^monitor_performance: the monitor must be a PerformanceMonitor"):
        monitor_performance("f", monitor)


def test_the_longest_duration_without_a_span():
    """A number that no integer of nanoseconds holds is as good as never."""
    assert monitor_performance(min_span_duration=1.7e308)(len)("ab") == 2


def test_variables_are_package_wide_defaults(telemetry, monkeypatch):
    """The variables hold for every function decorated under them."""
    monkeypatch.setenv("CODOPERF_OTEL_MIN_SPAN_DURATION", "10")

    @monitor_performance("leaf")
    def leaf():
        pass

    leaf()
    assert not telemetry.spans()
    monkeypatch.setenv("CODOPERF_OTEL_MIN_SPAN_DURATION", "soon")
    with pytest.raises(ValueError, match=r"^CODOPERF_OTEL_MIN_SPAN_DURATION is 'soon': it must be"):
        monitor_performance(lambda: None)


def test_disabled_gives_the_function_itself(monkeypatch):
    """With the package switched off, decorators give back what they were given."""
    monkeypatch.setenv("CODOPERF_OTEL_ENABLED", "false")

    def function():
        pass

    assert monitor_performance(function) is function
    assert monitor_performance("name")(function) is function
    assert tool("name")(function) is function
    monkeypatch.setenv("CODOPERF_OTEL_ENABLED", "no")
    with pytest.raises(ValueError, match=r"^CODOPERF_OTEL_ENABLED is 'no': it must be true or false$"):
        monitor_performance(function)


def test_cloudpickle_takes_a_local_decorated_function(telemetry):
    """A decorated function that no import finds goes through cloudpickle."""

    @monitor_performance("local")
    def local(value):
        return value + 1

    assert cloudpickle.loads(cloudpickle.dumps(local))(1) == 2


def test_monitors_go_through_pickle():
    """The global monitor is the other side's own; any other arrives empty."""
    from codoperf_otel import performance_monitor

    global_one = performance_monitor._performance_monitor
    assert pickle.loads(pickle.dumps(global_one)) is global_one
    monitor = PerformanceMonitor()
    monitor.record_metrics("f", 1.0)
    assert pickle.loads(pickle.dumps(monitor)).get_stats() == {}
