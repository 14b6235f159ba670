"""Messages of the package ``baseline``: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {
    "baseline.data_unknown": (
        "체크포인트에 어떤 데이터로 학습되었는지 적혀 있지 않아, 같은 데이터에 경쟁자를 적합할 수 없음",
        "the checkpoint does not tell which data it was trained on, so no baseline can be fitted to the same",
    ),
    "baseline.data_absent": (
        "체크포인트가 학습된 데이터가 아님: {path}. 그 데이터가 출력 폴더의 run.json 에도 없어 경쟁자를 적합할 수 없음",
        "{path} is not the data that the checkpoint was trained on, nor is that what the output folder's run.json names, "
        "so no baseline can be fitted to it",
    ),
    "baseline.none": ("단순 경쟁자 없음: {reason}", "No simple baseline: {reason}"),
    "baseline.none_for": ("{task} 의 경쟁자 없음: {reason}", "No baseline for {task}: {reason}"),
    "baseline.is": (
        "단순 경쟁자: 학습 분할의 상황 {count}개에 적합한 릿지 회귀와 로지스틱 회귀 ({features}의 벡터)",
        "The simple baseline: ridge and logistic regression on the vectors of {features}, fitted to the {count} situations of "
        "the training split",
    ),
    "baseline.feature_title": ("제목", "title"),
    "baseline.feature_action": ("행동", "action"),
    "baseline.feature_whole_text": ("전체 텍스트", "whole text"),
    "baseline.feature_windows": ("창들의 평균", "mean of the windows"),
    "baseline.above": (
        "{split} 에서 단순 경쟁자보다 나음: {tasks}",
        "Above the simple baseline on {split}: {tasks}",
    ),
    "baseline.below": (
        "{split} 에서 단순 경쟁자보다 못함: {tasks}",
        "Below the simple baseline on {split}: {tasks}",
    ),
    "baseline.level": (
        "{split} 에서 단순 경쟁자와 구별되지 않음: {tasks}",
        "Not to be told from the simple baseline on {split}: {tasks}",
    ),
    "baseline.mean": ("평균", "mean"),
    "baseline.entry": ("{name} ({value}, {low} ~ {high})", "{name} ({value}, {low} to {high})"),
    "baseline.in_sample": (
        "모델과 경쟁자 모두 이 상황들에 적합되었으므로, 어느 쪽이 나은지에서 알 수 있는 것은 없습니다",
        "Model and baseline were both fitted to these situations: nothing follows from who is better on them",
    ),
    "baseline.on_choose": (
        "choose 는 에포크와 학습률을 고르는 데 쓰였으므로 모델에 유리합니다",
        "choose picked the learning rate and epochs, so its numbers flatter the model",
    ),
    "baseline.on_judge": (
        "judge 는 전달할 모델을 고르는 데 쓰였으므로 그 모델에 조금 유리합니다",
        "judge picked the delivered model among others, so its numbers flatter that one a little",
    ),
}
