"""Messages of the package ``inspection``: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {
    "inspection.column_checkpoint": ("체크포인트", "checkpoint"),
    "inspection.column_size": ("크기", "size"),
    "inspection.column_dtype": ("자료형", "dtype"),
    "inspection.column_state": ("상태", "state"),
    "inspection.column_loss": ("손실", "loss"),
    "inspection.column_skill": ("스킬", "skill"),
    "inspection.column_used_by": ("쓰이는 곳", "used by"),
    "inspection.valid": ("정상", "valid"),
    "inspection.damaged": ("손상", "DAMAGED"),
    "inspection.superseded": ("이전 판", "older"),
    "inspection.sum": (
        "{count}개, 모두 {size}. 손실과 평균 스킬은 choose 기준이며, 해시는 `redheart checkpoints verify`가 확인합니다",
        "{count} checkpoints, {size}. Loss and mean skill are on choose; `redheart checkpoints verify` compares the hashes",
    ),
    "inspection.fault": ("⚠️ {fault}", "⚠️ {fault}"),
    "inspection.goes_on": (
        "이어서 학습: 에폭 {epoch}, 배치 {batch}",
        "gone on from: epoch {epoch}, batch {batch}",
    ),
    "inspection.at": ("에폭 {epoch}, 배치 {batch}", "epoch {epoch}, batch {batch}"),
    "inspection.made_of": ("에폭 {epochs} ({name})", "of epoch {epochs} ({name})"),
    "inspection.by_analysis": ("분석×{count}", "analysis×{count}"),
    "inspection.by_crossover": ("교차×{count}", "crossover×{count}"),
    "inspection.verifying": ("체크포인트 확인", "Verifying checkpoints"),
    "inspection.whole": ("✅ {name}: 정상 ({size})", "✅ {name}: whole ({size})"),
    "inspection.not_whole": ("❌ {name}: {faults}. {cure}", "❌ {name}: {faults}. {cure}"),
    "inspection.cure_state": (
        "학습은 이전의 온전한 상태에서 이어집니다. 다 쓴 상태는 `{command}`로 지웁니다",
        "Training goes on from an older state that is whole; `{command}` removes those that are not needed",
    ),
    "inspection.cure_epoch": (
        "사본에서 되돌리거나, `{remove}`로 지우고 `{train}`으로 남은 상태에서 다시 학습하세요",
        "Put it back from a copy, or remove it (`{remove}`) and have `{train}` train it again, where an earlier state is left",
    ),
    "inspection.cure_start": (
        "사본에서 되돌리거나, 없이 진행하려면 `{remove}`로 지우세요",
        "Put it back from a copy, or go without it: `{remove}`",
    ),
    "inspection.cure_superseded": (
        "같은 에폭의 다른 판이 쓰이므로 필요하지 않습니다",
        "Another generation of this epoch counts, so nothing needs it",
    ),
    "inspection.cure_written": (
        "사본에서 되돌리거나, `{command}`로 다시 쓰세요",
        "Put it back from a copy, or have it written anew by `{command}`",
    ),
    "inspection.would_remove": ("지울 것: {name} ({size})", "would remove {name} ({size})"),
    "inspection.removing": ("지움: {name} ({size})", "removed {name} ({size})"),
    "inspection.kept_for": ("   --force 없이는 지우지 않습니다: {why}", "   is refused without --force: {why}"),
    "inspection.would_free": ("모두 {size}({bytes} 바이트)를 비웁니다", "This would free {size} ({bytes} bytes)"),
    "inspection.freed": ("{size}({bytes} 바이트)를 비웠습니다", "Freed {size} ({bytes} bytes)"),
    "inspection.no_longer_whole": (
        "⚠️ 이 실행은 이제 모든 에폭을 갖고 있지 않습니다. `{train}`은 빠진 에폭을 알리고, 재개 상태가 없으면 처음부터 다시 학습합니다",
        "⚠️ Epochs of this run are gone: `{train}` says which, and without a resume state it trains all of them again",
    ),
}
