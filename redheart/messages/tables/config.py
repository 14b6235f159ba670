"""Messages of the settings: where each comes from and why it came to what it is; key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {
    "config.given": ("지정됨", "given"),
    "config.from_file": ("{path} 파일", "from {path}"),
    "config.from_override": ("명령줄 설정 {typed}", "given as {typed}"),
    "config.from_option": ("옵션 {option}", "option {option}"),
    "config.lr_sweep": ("스윕의 선택: {path}", "the sweep's choice: {path}"),
    "config.lr_no_sweep": ("기본값: {path} 없음", "the default: there is no {path}"),
    "config.lr_default": ("기본값", "the default"),
    "config.lr_swept_first": ("먼저 실행되는 스윕이 찾습니다", "found by the sweep that runs first"),
    "config.preset_smallest": (
        "auto: 제거 실험은 가장 작은 프리셋을 학습합니다",
        "auto: the ablation trains the smallest preset",
    ),
    "config.precision_bf16": ("auto: CUDA 장치가 bf16을 지원함", "auto: the CUDA device has bf16"),
    "config.precision_no_bf16": ("auto: CUDA 장치에 bf16이 없음", "auto: the CUDA device has no bf16"),
    "config.precision_cpu": ("auto: CUDA 장치가 없음", "auto: there is no CUDA device"),
}
