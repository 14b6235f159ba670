"""Messages of the stage ``ablate``: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {
    "ablation.start": (
        "🔬 제거 실험: 변형 {variants}개 × 시드 {seeds}개, 프리셋 {preset}, {epochs} 에폭, LR {learning_rate:g}; "
        "학습 {train}, 에폭 선택 {choose}, 판정 {judge}개 상황",
        "🔬 Ablation: {variants} variants × {seeds} seeds, preset {preset}, {epochs} epochs, LR {learning_rate:g}; "
        "{train} situations train, {choose} choose the epoch, {judge} judge",
    ),
    "ablation.found": (
        "📂 이미 끝난 실행 {found}/{total}개를 그대로 사용합니다 (--force 로 다시 실행)",
        "📂 {found} of {total} runs were finished before and are kept (--force trains them again)",
    ),
    "ablation.runs": (
        "   실행 {count}개를 동시에 {slots}개씩 학습합니다",
        "   Training {count} runs, {slots} at a time",
    ),
    "ablation.run": (
        "🧪 실행 {done}/{total} 완료: {variant}, 시드 {seed}; 남은 시간 약 {left}",
        "🧪 Run {done} of {total} done: {variant}, seed {seed}; about {left} left",
    ),
    "ablation.trained": ("🏁 실행 {count}개 완료: {seconds:.0f}초", "🏁 {count} runs done in {seconds:.0f} s"),
    "ablation.saved": ("💾 제거 실험 결과 저장: {path}, {picture}", "💾 Ablation saved: {path}, {picture}"),
}
