"""Messages of the package ``prediction``: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {
    "prediction.predict_skill": ("(judge 에서의 스킬 {skill})", "(skill on judge {skill})"),
    "prediction.predict_skill_interval": (
        "(judge 에서의 스킬 {skill}, {low} ~ {high})",
        "(skill on judge {skill}, {low} to {high})",
    ),
    "prediction.predict_untrained": (
        "– 학습 데이터에 정답이 없음",
        "– nothing in the training data was annotated with it",
    ),
    "prediction.predict_legend": (
        "\n스킬: 1은 완벽, 0은 누구에게나 같은 추측을 하는 상수 예측기. `redheart evaluate` 가 test 에서의 수치를 보여 줍니다",
        "\nskill: 1 is perfect, 0 is the same guess for everybody; `redheart evaluate` shows what it is on test",
    ),
}
