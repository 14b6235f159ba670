"""Messages of the stage ``sweep``: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {
    "sweep.trial_without_memory": (
        "⚠️ {trial}: 메모리 부족으로 실패, 스윕은 계속됩니다: {reason}",
        "⚠️ {trial} failed for want of memory, and the sweep goes on: {reason}",
    ),
    "sweep.loaded": (
        "📂 기존 LR 테스트 결과 로드: {count} 개 LR 기록",
        "📂 Earlier LR results loaded: {count} LRs on record",
    ),
    "sweep.no_history": ("기존 LR 테스트 결과 없음: 새로 시작", "No earlier LR results: starting afresh"),
    "sweep.imported": (
        "이전 형식의 LR 기록 {count} 개를 trials/ 로 가져옴",
        "{count} LR records of an older store imported into trials/",
    ),
    "sweep.adjusted": (
        "⚠️ LR {wanted} 이미 테스트됨. {chosen}로 조정",
        "⚠️ LR {wanted} tested already. Adjusted to {chosen}",
    ),
    "sweep.spread": (
        "LR {wanted}: 같은 스테이지의 점과 너무 가까움. {chosen}로 이동",
        "LR {wanted}: too close to a point of the same stage. Moved to {chosen}",
    ),
    "sweep.repeat": (
        "🔁 LR {wanted}: 구간에 빈 자리 없음. {chosen} 을(를) 시드 {seed}(으)로 반복",
        "🔁 LR {wanted}: no free place in the bracket. {chosen} is repeated under seed {seed}",
    ),
    "sweep.saved": ("💾 누적 결과 저장 완료: {count} 개 LR", "💾 Cumulative results saved: {count} LRs"),
    "sweep.damaged": (
        "⚠️ {path} 손상됨 ({problem}). {aside} (으)로 보관하고 trials/ 의 {trials} 개 기록으로 다시 만듦",
        "⚠️ {path} is damaged ({problem}). Kept as {aside}; rebuilt from the {trials} records in trials/",
    ),
    "sweep.start": (
        "🔎 LR 스윕 {name}: {stages} 스테이지 × {points} 점, 동시 실행 {slots} 개 ({where}), 시행당 {epochs} 에폭",
        "🔎 LR sweep {name}: {stages} stages × {points} points, {slots} at a time ({where}), {epochs} epochs per trial",
    ),
    "sweep.resume": (
        "↩️ LR 스윕 이어서 진행: {done}/{total} 시행 완료됨",
        "↩️ Going on with the LR sweep: {done} of {total} trials are done",
    ),
    "sweep.complete": (
        "⏭️ 같은 설정·데이터·시드의 LR 스윕이 이미 끝남 ({total} 시행): 건너뜀 (--force 로 다시 실행)",
        "⏭️ The LR sweep of this configuration, data and seed is complete ({total} trials): skipped (--force redoes it)",
    ),
    "sweep.unfit_fields": (
        "⚠️ {path}: 종류가 맞지 않는 값은 없는 것으로 봅니다: {found} (이런 기록 {count} 개)",
        "⚠️ {path}: values of another kind than wanted count as absent: {found} (trials with such: {count})",
    ),
    "sweep.stage": (
        "📐 스테이지 {stage}: 구간 {low} – {high}, LR {points}",
        "📐 Stage {stage}: bracket {low} – {high}, LRs {points}",
    ),
    "sweep.sizes": (
        "시행마다 학습 {train} 개, 검증(choose) {choose} 개 상황 사용",
        "Each trial trains on {train} situations and is validated on {choose} (choose)",
    ),
    "sweep.trial": (
        "🧪 포인트 {done}/{total} 완료: {trial}; 남은 시간 약 {left}",
        "🧪 Trial {done} of {total} done: {trial}; about {left} left",
    ),
    "sweep.own_trial": (
        "🧪 포인트 {done}/{total} 완료: {trial}",
        "🧪 Trial {done} of {total} done: {trial}",
    ),
    "sweep.diverged": ("발산", "diverged"),
    "sweep.stage_done": (
        "📈 스테이지 {stage} 완료: 지금까지 최적 LR {best} (시드 보정 평균 val_loss {loss}), 그림 {plot}",
        "📈 Stage {stage} done: best LR so far {best} (seed-adjusted mean val_loss {loss}), plot {plot}",
    ),
    "sweep.worker_died": (
        "⚠️ 스윕 작업자 {number} 종료 ({how}). 남은 작업자가 계속함. 기록 {log}:\n{tail}",
        "⚠️ Sweep worker {number} ended ({how}). The others go on. Its log is {log}:\n{tail}",
    ),
    "sweep.chosen": (
        "🎯 최적 LR {best}: val_loss {loss} ({runs} 회 평균; 시드 보정 {adjusted}), 잡음 범위 안의 LR {within} 개 → {path}",
        "🎯 Best LR {best}: val_loss {loss} (mean of {runs} runs; seed-adjusted {adjusted}), {within} LRs within noise of it → {path}",
    ),
    "sweep.at_edge": (
        "⚠️ 최적 LR {best} 이(가) 시험한 범위의 끝에 있음: sweep.lr_min / sweep.lr_max 를 넓혀 볼 것",
        "⚠️ The best LR {best} is at the edge of all that was tested: consider widening sweep.lr_min / sweep.lr_max",
    ),
}
