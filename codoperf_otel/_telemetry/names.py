"""Every name that leaves the process: attributes, events, metrics and the values they take.

Names under ``codoperf.`` are this package's own. The others are OpenTelemetry's, and mean what its
semantic conventions say.
"""

from typing import Final

SCOPE = "codoperf_otel"

# the version of the semantic conventions that the names below follow
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"

# attributes that OpenTelemetry defines
CODE_FUNCTION_NAME = "code.function.name"
CODE_FILE_PATH = "code.file.path"
CODE_LINE_NUMBER = "code.line.number"
CODE_STACKTRACE = "code.stacktrace"
ERROR_TYPE = "error.type"
OTHER_ERROR = "_OTHER"
"""The value of ``error.type`` where the class cannot be told, by OpenTelemetry's convention."""
EXCEPTION_TYPE = "exception.type"
EXCEPTION_MESSAGE = "exception.message"
EXCEPTION_STACKTRACE = "exception.stacktrace"
EXCEPTION_ESCAPED = "exception.escaped"
CPU_MODE = "cpu.mode"
DISK_IO_DIRECTION = "disk.io.direction"
PROCESS_CONTEXT_SWITCH_TYPE = "process.context_switch.type"
PAGING_FAULT_TYPE = "system.paging.fault.type"
CPYTHON_GC_GENERATION = "cpython.gc.generation"
GEN_AI_OPERATION_NAME = "gen_ai.operation.name"
GEN_AI_AGENT_NAME = "gen_ai.agent.name"
GEN_AI_AGENT_DESCRIPTION = "gen_ai.agent.description"
GEN_AI_AGENT_VERSION = "gen_ai.agent.version"
GEN_AI_CONVERSATION_ID = "gen_ai.conversation.id"
GEN_AI_TOOL_NAME = "gen_ai.tool.name"
GEN_AI_TOOL_TYPE = "gen_ai.tool.type"
GEN_AI_TOOL_DESCRIPTION = "gen_ai.tool.description"
GEN_AI_TOOL_CALL_ID = "gen_ai.tool.call.id"
GEN_AI_WORKFLOW_NAME = "gen_ai.workflow.name"
GEN_AI_TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105
GEN_AI_USAGE_INPUT_TOKENS = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
METRIC_OVERFLOW = "otel.metric.overflow"

# values of gen_ai.operation.name, and first words of the span names
INVOKE_AGENT = "invoke_agent"
EXECUTE_TOOL = "execute_tool"
INVOKE_WORKFLOW = "invoke_workflow"

# values of gen_ai.operation.name of spans that are calls of a model
INFERENCES = frozenset({"chat", "generate_content", "text_completion"})

# values of gen_ai.token.type
INPUT = "input"
OUTPUT = "output"

# what the spans of other libraries had, or have, in place of OpenTelemetry's names
OLD_USAGE_INPUT_TOKENS = "gen_ai.usage.prompt_tokens"
OLD_USAGE_OUTPUT_TOKENS = "gen_ai.usage.completion_tokens"
TRACELOOP_REQUEST_TYPE = "llm.request.type"
TRACELOOP_INFERENCES = frozenset({"chat", "completion"})
OPENINFERENCE_SPAN_KIND = "openinference.span.kind"
OPENINFERENCE_INFERENCE = "LLM"
OPENINFERENCE_INPUT_TOKENS = "llm.token_count.prompt"
OPENINFERENCE_OUTPUT_TOKENS = "llm.token_count.completion"

# name of the span event, and of the log record, that an exception is
EXCEPTION = "exception"

# first word of the name of a span that a lazy load makes
LAZY_LOAD = "lazy_load"

# first word of the name of a span that an import is
IMPORT = "import"

# attributes of this package
OPERATION_NAME = "codoperf.operation.name"
OUTCOME = "codoperf.outcome"
ARGUMENT = "codoperf.argument"
RESULT = "codoperf.result"
CPU_TIME = "codoperf.cpu.time"
CPU_SELF_TIME = "codoperf.cpu.self_time"
CPU_CHILD_PROCESS_TIME = "codoperf.cpu.child_process_time"
CPU_CLASS = "codoperf.cpu.class"
SUSPENDED_TIME = "codoperf.suspended.time"
YIELDED_COUNT = "codoperf.yielded.count"
PROCESS_MEMORY_START = "codoperf.process.memory.start"
PROCESS_MEMORY_END = "codoperf.process.memory.end"
PROCESS_MEMORY_PEAK = "codoperf.process.memory.peak"
PROCESS_MEMORY_PEAK_SOURCE = "codoperf.process.memory.peak_source"
PROCESS_CPU_TIME_SPENT = "codoperf.process.cpu.time"
CHILD_PROCESS_MEMORY_PEAK = "codoperf.child_process.memory.peak"
CHILD_PROCESS_MEMORY_PEAK_SOURCE = "codoperf.child_process.memory.peak_source"
MEMORY_ALLOCATED = "codoperf.memory.allocated"
MEMORY_ALLOCATION_COUNT = "codoperf.memory.allocation.count"
PROCESS_MEMORY_DELTA = "codoperf.process.memory.delta"
MODULE_NAME = "codoperf.module.name"
MODULE_COUNT = "codoperf.module.count"
IMPORT_SELF_TIME = "codoperf.import.self_time"
EVENT_LOOP_LAG_ATTRIBUTE = "codoperf.event_loop.lag"
GC_PAUSE_DURATION_ATTRIBUTE = "codoperf.gc.pause.duration"
LAZY_LOAD_DURATION_ATTRIBUTE = "codoperf.lazy_load.duration"
BUDGET_RESOURCE = "codoperf.budget.resource"
BUDGET_LIMIT = "codoperf.budget.limit"
BUDGET_USED = "codoperf.budget.used"
CACHE_NAME = "codoperf.cache.name"
CACHE_RESULT = "codoperf.cache.result"
CACHE_TIER = "codoperf.cache.tier"
CACHE_EVICTION_REASON = "codoperf.cache.eviction.reason"
SIGNAL = "codoperf.signal"
DROP_REASON = "codoperf.drop.reason"

# values of codoperf.outcome
ABANDONED = "abandoned"
INTERRUPTED = "interrupted"
CANCELLED = "cancelled"

# values of codoperf.cache.result, codoperf.cache.tier and codoperf.cache.eviction.reason
HIT = "hit"
MISS = "miss"
COALESCED = "coalesced"
STALE = "stale"
MEMORY = "memory"
DISK = "disk"
REDIS = "redis"
SIZE = "size"
EXPIRED = "expired"
INVALID = "invalid"

# values of codoperf.drop.reason
QUEUE_FULL = "queue_full"
EXPORT_FAILED = "export_failed"
REJECTED = "rejected"
SPOOL_FULL = "spool_full"
SPOOL_EXPIRED = "spool_expired"

# values of codoperf.process.memory.peak_source and codoperf.child_process.memory.peak_source
KERNEL: Final = "kernel"
SAMPLED: Final = "sampled"

# values of codoperf.cpu.class
LOW = "low"
MEDIUM = "medium"
HIGH = "high"

# span events
EVENT_LOOP_BLOCKED_EVENT = "codoperf.event_loop.blocked"
GC_PAUSE_EVENT = "codoperf.gc.pause"
MEMORY_ALLOCATION_EVENT = "codoperf.memory.allocation"
LAZY_LOAD_EVENT = "codoperf.lazy_load"
BUDGET_WARNING_EVENT = "codoperf.budget.warning"
BUDGET_EXCEEDED_EVENT = "codoperf.budget.exceeded"
CACHE_HIT_EVENT = "codoperf.cache.hit"
CACHE_MISS_EVENT = "codoperf.cache.miss"

# metrics
FUNCTION_DURATION = "codoperf.function.duration"
FUNCTION_CPU_TIME = "codoperf.function.cpu.time"
FUNCTION_ACTIVE = "codoperf.function.active"
OPERATION_DURATION = "codoperf.operation.duration"
OPERATION_CPU_TIME = "codoperf.operation.cpu.time"
OPERATION_ACTIVE = "codoperf.operation.active"
OPERATION_MEMORY_PEAK = "codoperf.operation.memory.peak"
CHILD_PROCESS_CPU_TIME = "codoperf.child_process.cpu.time"
INVOKE_AGENT_DURATION = "gen_ai.invoke_agent.duration"
EXECUTE_TOOL_DURATION = "gen_ai.execute_tool.duration"
WORKFLOW_DURATION = "gen_ai.workflow.duration"
INVOKE_AGENT_TOOL_CALLS = "gen_ai.invoke_agent.tool_calls"
INVOKE_AGENT_INFERENCE_CALLS = "gen_ai.invoke_agent.inference_calls"
AGENT_WALL_TIME = "codoperf.agent.wall.time"
AGENT_CPU_TIME = "codoperf.agent.cpu.time"
AGENT_CHILD_PROCESS_CPU_TIME = "codoperf.agent.child_process.cpu.time"
AGENT_SUSPENDED_TIME = "codoperf.agent.suspended.time"
AGENT_TOOL_CALLS = "codoperf.agent.tool_calls"
AGENT_INFERENCE_CALLS = "codoperf.agent.inference_calls"
AGENT_ERRORS = "codoperf.agent.errors"
AGENT_TOKEN_USAGE = "codoperf.agent.token.usage"  # noqa: S105
AGENT_LAZY_LOAD_TIME = "codoperf.agent.lazy_load.time"
AGENT_CACHE_LOOKUPS = "codoperf.agent.cache.lookups"
AGENT_CACHE_SAVED_TIME = "codoperf.agent.cache.saved.time"
CACHE_LOOKUPS = "codoperf.cache.lookups"
CACHE_EVICTIONS = "codoperf.cache.evictions"
CACHE_ENTRY_COUNT = "codoperf.cache.entry.count"
CACHE_ENTRY_LIMIT = "codoperf.cache.entry.limit"
CACHE_SIZE = "codoperf.cache.size"
CACHE_LOAD_DURATION = "codoperf.cache.load.duration"
CACHE_SAVED_TIME = "codoperf.cache.saved.time"
LAZY_LOAD_DURATION = "codoperf.lazy_load.duration"
EVENT_LOOP_LAG = "codoperf.event_loop.lag"
GC_PAUSE_DURATION = "codoperf.gc.pause.duration"
TELEMETRY_DROPPED = "codoperf.telemetry.dropped"
PROCESS_CPU_TIME = "process.cpu.time"
PROCESS_CPU_UTILIZATION = "process.cpu.utilization"
PROCESS_UPTIME = "process.uptime"
PROCESS_MEMORY_USAGE = "process.memory.usage"
PROCESS_MEMORY_VIRTUAL = "process.memory.virtual"
PROCESS_THREAD_COUNT = "process.thread.count"
PROCESS_FILE_DESCRIPTOR_COUNT = "process.unix.file_descriptor.count"
PROCESS_CONTEXT_SWITCHES = "process.context_switches"
PROCESS_PAGING_FAULTS = "process.paging.faults"
PROCESS_DISK_IO = "process.disk.io"
PROCESS_MEMORY_LIMIT = "codoperf.process.memory.limit"
PROCESS_CPU_THROTTLED_TIME = "codoperf.process.cpu.throttled.time"
CPYTHON_GC_COLLECTIONS = "cpython.gc.collections"
CPYTHON_GC_COLLECTED_OBJECTS = "cpython.gc.collected_objects"
CPYTHON_GC_UNCOLLECTABLE_OBJECTS = "cpython.gc.uncollectable_objects"

# metrics: system, and the attributes that only they have
SYSTEM_CPU_UTILIZATION = "system.cpu.utilization"
SYSTEM_MEMORY_USAGE = "system.memory.usage"
SYSTEM_MEMORY_UTILIZATION = "system.memory.utilization"
SYSTEM_NETWORK_IO = "system.network.io"
SYSTEM_FILESYSTEM_UTILIZATION = "system.filesystem.utilization"
SYSTEM_MEMORY_STATE = "system.memory.state"
SYSTEM_DEVICE = "system.device"
SYSTEM_FILESYSTEM_MODE = "system.filesystem.mode"
SYSTEM_FILESYSTEM_MOUNTPOINT = "system.filesystem.mountpoint"
SYSTEM_FILESYSTEM_STATE = "system.filesystem.state"
SYSTEM_FILESYSTEM_TYPE = "system.filesystem.type"
NETWORK_INTERFACE_NAME = "network.interface.name"
NETWORK_IO_DIRECTION = "network.io.direction"
