"""Messages of the stage ``data``: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {
    "data.dataset": ("📂 데이터셋: {path}", "📂 Dataset: {path}"),
    "data.newer_than_embedded": (
        "📂 데이터셋: {path} ({embedded}을(를) 만든 뒤에 바뀐 파일입니다. 바뀌지 않은 항목의 임베딩은 재사용됩니다)",
        "📂 Dataset: {path} (changed since {embedded} was made; vectors of unchanged items are reused)",
    ),
    "data.bundled_sample": (
        "📂 {name} 파일이 없어 내장 샘플을 사용합니다: {path}",
        "📂 No {name} here: using the bundled sample {path}",
    ),
    "data.label_disagrees": (
        "⚠️ {path}: {count}개 항목의 label이 label_scores의 최다 득표가 아닙니다 (첫 항목: {id}). "
        "득표를 정답으로 사용합니다",
        "⚠️ {path}: the label of {count} items is not among the highest-voted of label_scores (first: {id}); "
        "the votes are the target",
    ),
    "data.rounded": (
        "⚠️ {path}: 숫자 {count}개가 반올림 오차(1e-6 이내)로 허용 범위를 벗어나 경계값으로 읽었습니다 (첫 항목: {id})",
        "⚠️ {path}: {count} numbers miss a bound by rounding (within 1e-6) and are read as that bound (first: {id})",
    ),
    "data.unknown_fields": (
        "⚠️ {path}: 알려지지 않은 필드는 보존만 하고 읽지 않습니다: {names}",
        "⚠️ {path}: fields that are not known are kept and not read: {names}",
    ),
    "data.targets": (
        "🎯 과제별 정답이 있는 상황 ({count}개 중): {targets}",
        "🎯 Situations with a target, of {count}: {targets}",
    ),
}
