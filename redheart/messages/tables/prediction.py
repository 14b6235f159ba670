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
    "prediction.unread": (
        "⚠️ 임베딩 모델 {model}은(는) 글 {looked}개 중 {count}개의 언어를 읽지 못합니다 (토크나이저가 낱글자나 모르는 조각으로 자릅니다). "
        "그 글에 대한 예측은 의미가 없습니다. 다국어 모델을 embedding.model로 지정하고 다시 학습하세요: {names}",
        "⚠️ The encoder {model} can't read the language of {count} of {looked} texts (its tokenizer cuts them into single letters or "
        "unknown pieces): what is predicted for these means nothing. Train again with a multilingual encoder as embedding.model: {names}",
    ),
    "prediction.trained_unread": (
        "⚠️ 이 모델의 학습 데이터 중 {percent}%는 임베딩 모델 {model}이(가) 읽지 못하는 언어입니다. 예측을 믿을 수 없습니다. "
        "다국어 모델을 embedding.model로 지정하고 다시 학습하세요: {names}",
        "⚠️ Of the stories that this model was trained on, {percent} % are in a language that its encoder {model} can't read: "
        "its predictions are not to be relied on. Train again with a multilingual encoder as embedding.model: {names}",
    ),
    "prediction.predict_legend": (
        "\n스킬: 1은 완벽, 0은 누구에게나 같은 추측을 하는 상수 예측기. `redheart evaluate` 가 test 에서의 수치를 보여 줍니다",
        "\nskill: 1 is perfect, 0 is the same guess for everybody; `redheart evaluate` shows what it is on test",
    ),
}
