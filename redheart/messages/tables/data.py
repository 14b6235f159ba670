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
    "data.repeated": (
        "⚠️ {path}: 상황 {total}개 가운데 {count}개의 텍스트가 앞선 상황의 텍스트와 같습니다 (첫 항목: {id}). 서로 다른 텍스트만 충분한지 "
        "세지만, 신뢰 구간은 모두를 서로 독립으로 여기므로 실제보다 좁습니다",
        "⚠️ {path}: {count} of {total} situations have the text of an earlier one (first: {id}). Only different texts count for "
        "whether there are enough, but intervals take all for independent, and so are narrower than they should be",
    ),
    "data.constant_targets": (
        "⚠️ {path}: {task}의 주석이 학습 분할의 상황 {count}개에서 (반올림을 빼면) 모두 같습니다. 배울 것이 없으므로 스킬을 "
        "표시하지 않습니다 (–)",
        "⚠️ {path}: the annotations of {task} are the same, but for rounding, in all {count} situations of the training split that have "
        "one: nothing can be learned from them, and no skill is shown (–)",
    ),
    "data.unknown_fields": (
        "⚠️ {path}: 알려지지 않은 필드는 보존만 하고 읽지 않습니다: {names}",
        "⚠️ {path}: fields that are not known are kept and not read: {names}",
    ),
    "data.targets": (
        "🎯 과제별 정답이 있는 상황 ({count}개 중): {targets}",
        "🎯 Situations with a target, of {count}: {targets}",
    ),
    "data.trained_on_left_out": (
        "⚠️ {path}: 모델을 만드는 데 쓰인 뒤 텍스트가 수정된 상황을 제외하고 평가합니다: {counts} (예: {ids})",
        "⚠️ {path}: left out of the judging, because the model was made with them before their texts were edited: {counts} "
        "(such as {ids})",
    ),
    "data.source_left_out": (
        "⚠️ {path}: 시작 가중치를 만드는 데 쓰인 뒤 텍스트가 수정된 상황을 제외하고 평가합니다: {counts} (예: {ids})",
        "⚠️ {path}: left out of the judging, because the weights that the training began with were made with them, before their "
        "texts were edited: {counts} (such as {ids})",
    ),
    "data.source_unknown": (
        "⚠️ {source}: 이 가중치가 무엇으로 학습되었는지 기록(trained_on.json)이 없습니다. {path} 의 검증·테스트 텍스트 가운데 "
        "이미 학습된 것이 있다면 처음 보는 텍스트로 평가됩니다",
        "⚠️ {source}: there is no record of what these weights were trained on (trained_on.json) where they lie, so what of the "
        "validation and test texts of {path} trained them is judged as if it were new",
    ),
    "data.trained_on_replaced": (
        "⚠️ {path}: 모델을 만드는 데 쓰인 텍스트 {gone}개가 id와 함께 사라졌고, 평가할 상황 {new}개는 새 id의 새 텍스트입니다. 다른 id로 "
        "수정된 것이라면 처음 보는 텍스트로 평가됩니다",
        "⚠️ {path}: {gone} texts that the model was made with are gone with their ids, and {new} of what is judged are new under new "
        "ids: if these are the others edited, they are judged as if they were new",
    ),
    "data.trained_on_unknown": (
        "⚠️ {path}: 모델이 이 텍스트들의 이전 판으로 학습했는지 알 수 없습니다. 무엇을 학습했는지 기록(trained_on.json)이 없어, 학습 후 "
        "수정된 텍스트가 있다면 처음 보는 텍스트로 평가됩니다",
        "⚠️ {path}: whether the model was trained on an earlier edition of these texts can't be told: there is no record of what "
        "it was trained on (trained_on.json) here, so a training text that was edited since is judged as if it were new",
    ),
}
