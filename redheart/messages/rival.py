"""Messages of the package ``rival``: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {
    "rival_without_whole_text": (
        "⚠️ 단순 경쟁자가 전체 텍스트의 벡터 없이 적합됩니다: {reason}",
        "⚠️ The simple rival is fitted without the vectors of whole texts: {reason}",
    ),
    "rival_encoder_unknown": (
        "{path} 의 벡터가 어떤 인코더로 만들어졌는지 알 수 없음",
        "the vectors of {path} don't tell which encoder made them",
    ),
    "rival_encoder_absent": (
        "인코더 {model} 이(가) 이 기계에 없음",
        "the encoder {model} is not on this machine",
    ),
    "rival_encoder_another": (
        "이 기계의 {model} 은(는) 데이터를 임베딩한 인코더가 아님",
        "the {model} on this machine is not the encoder that embedded the data",
    ),
}
