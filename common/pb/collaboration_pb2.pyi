from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_OWNER: _ClassVar[Role]
    ROLE_CONTRIBUTOR: _ClassVar[Role]

class Speaker(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SPEAKER_UNSPECIFIED: _ClassVar[Speaker]
    SPEAKER_SYSTEM: _ClassVar[Speaker]
    SPEAKER_USER: _ClassVar[Speaker]
    SPEAKER_ASSISTANT: _ClassVar[Speaker]

class LateRule(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LATE_RULE_UNSPECIFIED: _ClassVar[LateRule]
    LATE_RULE_WAIT: _ClassVar[LateRule]
    LATE_RULE_SOLO: _ClassVar[LateRule]
    LATE_RULE_FAIL: _ClassVar[LateRule]

class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODE_UNSPECIFIED: _ClassVar[Mode]
    MODE_INTERPOLATE: _ClassVar[Mode]
    MODE_DELTA: _ClassVar[Mode]

class Codec(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CODEC_UNSPECIFIED: _ClassVar[Codec]
    CODEC_DENSE: _ClassVar[Codec]
    CODEC_TOPK: _ClassVar[Codec]

class NoiseForm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NOISE_FORM_UNSPECIFIED: _ClassVar[NoiseForm]
    NOISE_FORM_DENSE: _ClassVar[NoiseForm]
    NOISE_FORM_EXTREMES: _ClassVar[NoiseForm]

class SelfConditioning(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SELF_CONDITIONING_UNSPECIFIED: _ClassVar[SelfConditioning]
    SELF_CONDITIONING_OWN: _ClassVar[SelfConditioning]
    SELF_CONDITIONING_ESTIMATE: _ClassVar[SelfConditioning]
    SELF_CONDITIONING_FUSED: _ClassVar[SelfConditioning]

class Projection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROJECTION_UNSPECIFIED: _ClassVar[Projection]
    PROJECTION_SAMPLE: _ClassVar[Projection]
    PROJECTION_MULTI_HOT: _ClassVar[Projection]

class Order(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ORDER_UNSPECIFIED: _ClassVar[Order]
    ORDER_LOW_CONFIDENCE: _ClassVar[Order]
    ORDER_MARGIN: _ClassVar[Order]
    ORDER_ENTROPY: _ClassVar[Order]
    ORDER_RANDOM: _ClassVar[Order]
    ORDER_THRESHOLD: _ClassVar[Order]

class FinishReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINISH_REASON_UNSPECIFIED: _ClassVar[FinishReason]
    FINISH_REASON_END_TOKEN: _ClassVar[FinishReason]
    FINISH_REASON_MAX_TOKENS: _ClassVar[FinishReason]
    FINISH_REASON_CLIENT_FINISHED: _ClassVar[FinishReason]
    FINISH_REASON_DRAINING: _ClassVar[FinishReason]
ROLE_UNSPECIFIED: Role
ROLE_OWNER: Role
ROLE_CONTRIBUTOR: Role
SPEAKER_UNSPECIFIED: Speaker
SPEAKER_SYSTEM: Speaker
SPEAKER_USER: Speaker
SPEAKER_ASSISTANT: Speaker
LATE_RULE_UNSPECIFIED: LateRule
LATE_RULE_WAIT: LateRule
LATE_RULE_SOLO: LateRule
LATE_RULE_FAIL: LateRule
MODE_UNSPECIFIED: Mode
MODE_INTERPOLATE: Mode
MODE_DELTA: Mode
CODEC_UNSPECIFIED: Codec
CODEC_DENSE: Codec
CODEC_TOPK: Codec
NOISE_FORM_UNSPECIFIED: NoiseForm
NOISE_FORM_DENSE: NoiseForm
NOISE_FORM_EXTREMES: NoiseForm
SELF_CONDITIONING_UNSPECIFIED: SelfConditioning
SELF_CONDITIONING_OWN: SelfConditioning
SELF_CONDITIONING_ESTIMATE: SelfConditioning
SELF_CONDITIONING_FUSED: SelfConditioning
PROJECTION_UNSPECIFIED: Projection
PROJECTION_SAMPLE: Projection
PROJECTION_MULTI_HOT: Projection
ORDER_UNSPECIFIED: Order
ORDER_LOW_CONFIDENCE: Order
ORDER_MARGIN: Order
ORDER_ENTROPY: Order
ORDER_RANDOM: Order
ORDER_THRESHOLD: Order
FINISH_REASON_UNSPECIFIED: FinishReason
FINISH_REASON_END_TOKEN: FinishReason
FINISH_REASON_MAX_TOKENS: FinishReason
FINISH_REASON_CLIENT_FINISHED: FinishReason
FINISH_REASON_DRAINING: FinishReason

class GetServerInfoRequest(_message.Message):
    __slots__ = ("protocol_version",)
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    def __init__(self, protocol_version: _Optional[int] = ...) -> None: ...

class GetServerInfoResponse(_message.Message):
    __slots__ = ("protocol_version", "software_version", "model_name", "vocabulary", "vocabulary_size", "simplex", "masked", "limits", "features", "defaults", "contributor_defaults")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_SIZE_FIELD_NUMBER: _ClassVar[int]
    SIMPLEX_FIELD_NUMBER: _ClassVar[int]
    MASKED_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    DEFAULTS_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTOR_DEFAULTS_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    software_version: str
    model_name: str
    vocabulary: VocabularySummary
    vocabulary_size: int
    simplex: SimplexProcess
    masked: MaskedProcess
    limits: Limits
    features: _containers.RepeatedScalarFieldContainer[str]
    defaults: Settings
    contributor_defaults: ContributorSettings
    def __init__(self, protocol_version: _Optional[int] = ..., software_version: _Optional[str] = ..., model_name: _Optional[str] = ..., vocabulary: _Optional[_Union[VocabularySummary, _Mapping]] = ..., vocabulary_size: _Optional[int] = ..., simplex: _Optional[_Union[SimplexProcess, _Mapping]] = ..., masked: _Optional[_Union[MaskedProcess, _Mapping]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., features: _Optional[_Iterable[str]] = ..., defaults: _Optional[_Union[Settings, _Mapping]] = ..., contributor_defaults: _Optional[_Union[ContributorSettings, _Mapping]] = ...) -> None: ...

class CollaborateRequest(_message.Message):
    __slots__ = ("open", "contribution", "answer", "cancel", "finish")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    open: Open
    contribution: Contribution
    answer: Answer
    cancel: Cancel
    finish: Finish
    def __init__(self, open: _Optional[_Union[Open, _Mapping]] = ..., contribution: _Optional[_Union[Contribution, _Mapping]] = ..., answer: _Optional[_Union[Answer, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ..., finish: _Optional[_Union[Finish, _Mapping]] = ...) -> None: ...

class CollaborateResponse(_message.Message):
    __slots__ = ("opened", "step", "ask", "completed", "failed")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ASK_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    opened: Opened
    step: Step
    ask: Ask
    completed: Completed
    failed: Failed
    def __init__(self, opened: _Optional[_Union[Opened, _Mapping]] = ..., step: _Optional[_Union[Step, _Mapping]] = ..., ask: _Optional[_Union[Ask, _Mapping]] = ..., completed: _Optional[_Union[Completed, _Mapping]] = ..., failed: _Optional[_Union[Failed, _Mapping]] = ...) -> None: ...

class SimplexProcess(_message.Message):
    __slots__ = ("k", "schedule", "noise_form", "extremes_draws", "extremes_rows")
    K_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    NOISE_FORM_FIELD_NUMBER: _ClassVar[int]
    EXTREMES_DRAWS_FIELD_NUMBER: _ClassVar[int]
    EXTREMES_ROWS_FIELD_NUMBER: _ClassVar[int]
    k: float
    schedule: str
    noise_form: NoiseForm
    extremes_draws: int
    extremes_rows: int
    def __init__(self, k: _Optional[float] = ..., schedule: _Optional[str] = ..., noise_form: _Optional[_Union[NoiseForm, str]] = ..., extremes_draws: _Optional[int] = ..., extremes_rows: _Optional[int] = ...) -> None: ...

class MaskedProcess(_message.Message):
    __slots__ = ("grid",)
    GRID_FIELD_NUMBER: _ClassVar[int]
    grid: bool
    def __init__(self, grid: bool = ...) -> None: ...

class VocabularySummary(_message.Message):
    __slots__ = ("size", "runs", "form", "added", "end_ids")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    FORM_FIELD_NUMBER: _ClassVar[int]
    ADDED_FIELD_NUMBER: _ClassVar[int]
    END_IDS_FIELD_NUMBER: _ClassVar[int]
    size: int
    runs: bytes
    form: bytes
    added: _containers.RepeatedCompositeFieldContainer[AddedToken]
    end_ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, size: _Optional[int] = ..., runs: _Optional[bytes] = ..., form: _Optional[bytes] = ..., added: _Optional[_Iterable[_Union[AddedToken, _Mapping]]] = ..., end_ids: _Optional[_Iterable[int]] = ...) -> None: ...

class AddedToken(_message.Message):
    __slots__ = ("id", "name")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("role", "content")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    role: Speaker
    content: str
    def __init__(self, role: _Optional[_Union[Speaker, str]] = ..., content: _Optional[str] = ...) -> None: ...

class Every(_message.Message):
    __slots__ = ("first", "period", "last")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    PERIOD_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    first: int
    period: int
    last: int
    def __init__(self, first: _Optional[int] = ..., period: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class SimplexSettings(_message.Message):
    __slots__ = ("temperature", "min_p", "top_p", "no_repeat", "projection", "self_conditioning", "ramp", "halt_patience", "halt_margin")
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    MIN_P_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    NO_REPEAT_FIELD_NUMBER: _ClassVar[int]
    PROJECTION_FIELD_NUMBER: _ClassVar[int]
    SELF_CONDITIONING_FIELD_NUMBER: _ClassVar[int]
    RAMP_FIELD_NUMBER: _ClassVar[int]
    HALT_PATIENCE_FIELD_NUMBER: _ClassVar[int]
    HALT_MARGIN_FIELD_NUMBER: _ClassVar[int]
    temperature: float
    min_p: float
    top_p: float
    no_repeat: int
    projection: Projection
    self_conditioning: SelfConditioning
    ramp: float
    halt_patience: int
    halt_margin: float
    def __init__(self, temperature: _Optional[float] = ..., min_p: _Optional[float] = ..., top_p: _Optional[float] = ..., no_repeat: _Optional[int] = ..., projection: _Optional[_Union[Projection, str]] = ..., self_conditioning: _Optional[_Union[SelfConditioning, str]] = ..., ramp: _Optional[float] = ..., halt_patience: _Optional[int] = ..., halt_margin: _Optional[float] = ...) -> None: ...

class MaskedSettings(_message.Message):
    __slots__ = ("order", "temperature", "threshold")
    ORDER_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    order: Order
    temperature: float
    threshold: float
    def __init__(self, order: _Optional[_Union[Order, str]] = ..., temperature: _Optional[float] = ..., threshold: _Optional[float] = ...) -> None: ...

class Settings(_message.Message):
    __slots__ = ("block_length", "steps", "max_tokens", "seed", "late_rule", "certify", "lag", "every", "simplex", "masked")
    BLOCK_LENGTH_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    LATE_RULE_FIELD_NUMBER: _ClassVar[int]
    CERTIFY_FIELD_NUMBER: _ClassVar[int]
    LAG_FIELD_NUMBER: _ClassVar[int]
    EVERY_FIELD_NUMBER: _ClassVar[int]
    SIMPLEX_FIELD_NUMBER: _ClassVar[int]
    MASKED_FIELD_NUMBER: _ClassVar[int]
    block_length: int
    steps: int
    max_tokens: int
    seed: int
    late_rule: LateRule
    certify: bool
    lag: int
    every: Every
    simplex: SimplexSettings
    masked: MaskedSettings
    def __init__(self, block_length: _Optional[int] = ..., steps: _Optional[int] = ..., max_tokens: _Optional[int] = ..., seed: _Optional[int] = ..., late_rule: _Optional[_Union[LateRule, str]] = ..., certify: bool = ..., lag: _Optional[int] = ..., every: _Optional[_Union[Every, _Mapping]] = ..., simplex: _Optional[_Union[SimplexSettings, _Mapping]] = ..., masked: _Optional[_Union[MaskedSettings, _Mapping]] = ...) -> None: ...

class ContributorSettings(_message.Message):
    __slots__ = ("weight", "mode", "codec", "budget_ms")
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    BUDGET_MS_FIELD_NUMBER: _ClassVar[int]
    weight: float
    mode: Mode
    codec: Codec
    budget_ms: int
    def __init__(self, weight: _Optional[float] = ..., mode: _Optional[_Union[Mode, str]] = ..., codec: _Optional[_Union[Codec, str]] = ..., budget_ms: _Optional[int] = ...) -> None: ...

class Contributor(_message.Message):
    __slots__ = ("contributor_id", "display_name", "settings")
    CONTRIBUTOR_ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    contributor_id: str
    display_name: str
    settings: ContributorSettings
    def __init__(self, contributor_id: _Optional[str] = ..., display_name: _Optional[str] = ..., settings: _Optional[_Union[ContributorSettings, _Mapping]] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_message_bytes", "max_prompt_bytes", "max_block_length", "max_steps", "max_tokens", "max_weight", "max_entries", "max_budget_ms", "max_ask_ids_per_position", "max_ask_ids")
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_PROMPT_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_BLOCK_LENGTH_FIELD_NUMBER: _ClassVar[int]
    MAX_STEPS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    MAX_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    MAX_BUDGET_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_ASK_IDS_PER_POSITION_FIELD_NUMBER: _ClassVar[int]
    MAX_ASK_IDS_FIELD_NUMBER: _ClassVar[int]
    max_message_bytes: int
    max_prompt_bytes: int
    max_block_length: int
    max_steps: int
    max_tokens: int
    max_weight: float
    max_entries: int
    max_budget_ms: int
    max_ask_ids_per_position: int
    max_ask_ids: int
    def __init__(self, max_message_bytes: _Optional[int] = ..., max_prompt_bytes: _Optional[int] = ..., max_block_length: _Optional[int] = ..., max_steps: _Optional[int] = ..., max_tokens: _Optional[int] = ..., max_weight: _Optional[float] = ..., max_entries: _Optional[int] = ..., max_budget_ms: _Optional[int] = ..., max_ask_ids_per_position: _Optional[int] = ..., max_ask_ids: _Optional[int] = ...) -> None: ...

class Open(_message.Message):
    __slots__ = ("protocol_version", "role", "contributor_id", "display_name", "messages", "suffix", "settings", "contributor", "simplex", "masked", "vocabulary", "required_features", "optional_features", "session_id", "checkpoint")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTOR_ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    SUFFIX_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTOR_FIELD_NUMBER: _ClassVar[int]
    SIMPLEX_FIELD_NUMBER: _ClassVar[int]
    MASKED_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FEATURES_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FEATURES_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    role: Role
    contributor_id: str
    display_name: str
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    suffix: str
    settings: Settings
    contributor: ContributorSettings
    simplex: SimplexProcess
    masked: MaskedProcess
    vocabulary: VocabularySummary
    required_features: _containers.RepeatedScalarFieldContainer[str]
    optional_features: _containers.RepeatedScalarFieldContainer[str]
    session_id: str
    checkpoint: Checkpoint
    def __init__(self, protocol_version: _Optional[int] = ..., role: _Optional[_Union[Role, str]] = ..., contributor_id: _Optional[str] = ..., display_name: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., suffix: _Optional[str] = ..., settings: _Optional[_Union[Settings, _Mapping]] = ..., contributor: _Optional[_Union[ContributorSettings, _Mapping]] = ..., simplex: _Optional[_Union[SimplexProcess, _Mapping]] = ..., masked: _Optional[_Union[MaskedProcess, _Mapping]] = ..., vocabulary: _Optional[_Union[VocabularySummary, _Mapping]] = ..., required_features: _Optional[_Iterable[str]] = ..., optional_features: _Optional[_Iterable[str]] = ..., session_id: _Optional[str] = ..., checkpoint: _Optional[_Union[Checkpoint, _Mapping]] = ...) -> None: ...

class Opened(_message.Message):
    __slots__ = ("protocol_version", "session_id", "settings", "contributors", "simplex", "masked", "messages", "prompt_ids", "suffix_ids", "times", "end_ids", "limits", "features", "model_name", "vocabulary_size")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTORS_FIELD_NUMBER: _ClassVar[int]
    SIMPLEX_FIELD_NUMBER: _ClassVar[int]
    MASKED_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    PROMPT_IDS_FIELD_NUMBER: _ClassVar[int]
    SUFFIX_IDS_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    END_IDS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_SIZE_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    session_id: str
    settings: Settings
    contributors: _containers.RepeatedCompositeFieldContainer[Contributor]
    simplex: SimplexProcess
    masked: MaskedProcess
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    prompt_ids: bytes
    suffix_ids: bytes
    times: _containers.RepeatedScalarFieldContainer[float]
    end_ids: bytes
    limits: Limits
    features: _containers.RepeatedScalarFieldContainer[str]
    model_name: str
    vocabulary_size: int
    def __init__(self, protocol_version: _Optional[int] = ..., session_id: _Optional[str] = ..., settings: _Optional[_Union[Settings, _Mapping]] = ..., contributors: _Optional[_Iterable[_Union[Contributor, _Mapping]]] = ..., simplex: _Optional[_Union[SimplexProcess, _Mapping]] = ..., masked: _Optional[_Union[MaskedProcess, _Mapping]] = ..., messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., prompt_ids: _Optional[bytes] = ..., suffix_ids: _Optional[bytes] = ..., times: _Optional[_Iterable[float]] = ..., end_ids: _Optional[bytes] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., features: _Optional[_Iterable[str]] = ..., model_name: _Optional[str] = ..., vocabulary_size: _Optional[int] = ...) -> None: ...

class SimplexState(_message.Message):
    __slots__ = ("h", "ids", "fused")
    H_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    FUSED_FIELD_NUMBER: _ClassVar[int]
    h: int
    ids: bytes
    fused: FusedSignal
    def __init__(self, h: _Optional[int] = ..., ids: _Optional[bytes] = ..., fused: _Optional[_Union[FusedSignal, _Mapping]] = ...) -> None: ...

class FusedSignal(_message.Message):
    __slots__ = ("entries", "ids", "probabilities")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    entries: int
    ids: bytes
    probabilities: bytes
    def __init__(self, entries: _Optional[int] = ..., ids: _Optional[bytes] = ..., probabilities: _Optional[bytes] = ...) -> None: ...

class MaskedState(_message.Message):
    __slots__ = ("ids", "guesses", "probabilities")
    IDS_FIELD_NUMBER: _ClassVar[int]
    GUESSES_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    ids: bytes
    guesses: bytes
    probabilities: bytes
    def __init__(self, ids: _Optional[bytes] = ..., guesses: _Optional[bytes] = ..., probabilities: _Optional[bytes] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("block", "step", "simplex", "masked", "finished_ids", "decided")
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    SIMPLEX_FIELD_NUMBER: _ClassVar[int]
    MASKED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_IDS_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FIELD_NUMBER: _ClassVar[int]
    block: int
    step: int
    simplex: SimplexState
    masked: MaskedState
    finished_ids: bytes
    decided: bytes
    def __init__(self, block: _Optional[int] = ..., step: _Optional[int] = ..., simplex: _Optional[_Union[SimplexState, _Mapping]] = ..., masked: _Optional[_Union[MaskedState, _Mapping]] = ..., finished_ids: _Optional[bytes] = ..., decided: _Optional[bytes] = ...) -> None: ...

class Contribution(_message.Message):
    __slots__ = ("block", "step", "codec", "chunk_index", "chunk_count", "first_row", "rows", "counts", "ids", "values", "floors", "log_mass", "strengths", "bounds")
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    CHUNK_INDEX_FIELD_NUMBER: _ClassVar[int]
    CHUNK_COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_ROW_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    FLOORS_FIELD_NUMBER: _ClassVar[int]
    LOG_MASS_FIELD_NUMBER: _ClassVar[int]
    STRENGTHS_FIELD_NUMBER: _ClassVar[int]
    BOUNDS_FIELD_NUMBER: _ClassVar[int]
    block: int
    step: int
    codec: Codec
    chunk_index: int
    chunk_count: int
    first_row: int
    rows: int
    counts: bytes
    ids: bytes
    values: bytes
    floors: bytes
    log_mass: bytes
    strengths: bytes
    bounds: bytes
    def __init__(self, block: _Optional[int] = ..., step: _Optional[int] = ..., codec: _Optional[_Union[Codec, str]] = ..., chunk_index: _Optional[int] = ..., chunk_count: _Optional[int] = ..., first_row: _Optional[int] = ..., rows: _Optional[int] = ..., counts: _Optional[bytes] = ..., ids: _Optional[bytes] = ..., values: _Optional[bytes] = ..., floors: _Optional[bytes] = ..., log_mass: _Optional[bytes] = ..., strengths: _Optional[bytes] = ..., bounds: _Optional[bytes] = ...) -> None: ...

class Ask(_message.Message):
    __slots__ = ("block", "step", "positions", "counts", "ids")
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    block: int
    step: int
    positions: bytes
    counts: bytes
    ids: bytes
    def __init__(self, block: _Optional[int] = ..., step: _Optional[int] = ..., positions: _Optional[bytes] = ..., counts: _Optional[bytes] = ..., ids: _Optional[bytes] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("block", "step", "values")
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    block: int
    step: int
    values: bytes
    def __init__(self, block: _Optional[int] = ..., step: _Optional[int] = ..., values: _Optional[bytes] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("block", "step")
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    block: int
    step: int
    def __init__(self, block: _Optional[int] = ..., step: _Optional[int] = ...) -> None: ...

class Finish(_message.Message):
    __slots__ = ("block", "step")
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    block: int
    step: int
    def __init__(self, block: _Optional[int] = ..., step: _Optional[int] = ...) -> None: ...

class Participation(_message.Message):
    __slots__ = ("contributor_id", "outcomes")
    CONTRIBUTOR_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    contributor_id: str
    outcomes: bytes
    def __init__(self, contributor_id: _Optional[str] = ..., outcomes: _Optional[bytes] = ...) -> None: ...

class Completed(_message.Message):
    __slots__ = ("block", "step", "ids", "finish_reason", "participations", "decided", "uncertified", "bytes_received", "bytes_sent")
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    PARTICIPATIONS_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FIELD_NUMBER: _ClassVar[int]
    UNCERTIFIED_FIELD_NUMBER: _ClassVar[int]
    BYTES_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    BYTES_SENT_FIELD_NUMBER: _ClassVar[int]
    block: int
    step: int
    ids: bytes
    finish_reason: FinishReason
    participations: _containers.RepeatedCompositeFieldContainer[Participation]
    decided: bytes
    uncertified: int
    bytes_received: int
    bytes_sent: int
    def __init__(self, block: _Optional[int] = ..., step: _Optional[int] = ..., ids: _Optional[bytes] = ..., finish_reason: _Optional[_Union[FinishReason, str]] = ..., participations: _Optional[_Iterable[_Union[Participation, _Mapping]]] = ..., decided: _Optional[bytes] = ..., uncertified: _Optional[int] = ..., bytes_received: _Optional[int] = ..., bytes_sent: _Optional[int] = ...) -> None: ...

class Failed(_message.Message):
    __slots__ = ("block", "step", "reason", "message", "remedy")
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    block: int
    step: int
    reason: str
    message: str
    remedy: str
    def __init__(self, block: _Optional[int] = ..., step: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., remedy: _Optional[str] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("opened", "block", "finished_ids", "steps", "participations", "unchanged_steps")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    FINISHED_IDS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    PARTICIPATIONS_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_STEPS_FIELD_NUMBER: _ClassVar[int]
    opened: Opened
    block: int
    finished_ids: bytes
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    participations: _containers.RepeatedCompositeFieldContainer[Participation]
    unchanged_steps: int
    def __init__(self, opened: _Optional[_Union[Opened, _Mapping]] = ..., block: _Optional[int] = ..., finished_ids: _Optional[bytes] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., participations: _Optional[_Iterable[_Union[Participation, _Mapping]]] = ..., unchanged_steps: _Optional[int] = ...) -> None: ...
