"""Messages of the plan: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {
    "plan.chosen": (
        "선택: {strategy} — 오프로드 없이 들어가는 방법 중 가장 빠릅니다. "
        "프로세스 {processes}개 × 마이크로 배치 {micro} × 누적 {passes} = 전역 배치 {batch}; 런처 설정: {launch}",
        "Chosen: {strategy} – of what fits without offload the fastest. {processes} processes × micro-batch {micro} × "
        "{passes} passes = global batch {batch}; launch file: {launch}",
    ),
    "plan.chosen_offload": (
        "선택: {strategy} — 오프로드 없이는 들어가지 않습니다. 프로세스 {processes}개 × 마이크로 배치 {micro} × 누적 {passes} = "
        "전역 배치 {batch}; 런처 설정: {launch}",
        "Chosen: {strategy} – nothing fits without offload. {processes} processes × micro-batch {micro} × {passes} passes = "
        "global batch {batch}; launch file: {launch}",
    ),
    "plan.refused": (
        "{preset}: 맞는 방법이 없습니다. 가장 가까운 {strategy}: GPU당 {gpu} GiB (사용 가능 {gpu_there} / {gpu_all}), "
        "호스트 메모리 {host} GiB (사용 가능 {host_there} / {host_all}).",
        "{preset}: nothing fits. The closest, {strategy}, takes {gpu} GiB of a GPU (usable: {gpu_there} of {gpu_all}) and {host} GiB "
        "of host memory (usable: {host_there} of {host_all}).",
    ),
    "plan.refused_cpu": (
        "{preset}: 맞는 방법이 없습니다. 한 프로세스에 메모리 {host} GiB가 필요합니다 (사용 가능 {host_there} / {host_all}).",
        "{preset}: nothing fits. One process takes {host} GiB of memory (usable: {host_there} of {host_all}).",
    ),
    "plan.recomputes": (" + 활성값 재계산", " with activation checkpointing"),
    "plan.say": ("🧭 {choice}", "🧭 {choice}"),
    "plan.stand_in": (
        "🧪 설명된 GPU가 이 컴퓨터에 없으므로 같은 전략을 CPU에서 시작합니다",
        "🧪 The GPU that is described is not here: the same strategy is started on the CPU in its stead",
    ),
    "plan.preset_fits": (
        "auto: 이 메모리에 들어가는 가장 큰 프리셋 ({strategy})",
        "auto: the largest that fits into this memory ({strategy})",
    ),
    "plan.preset_none_fits": (
        "auto: 들어가는 프리셋이 없어 가장 작은 것",
        "auto: the smallest; none fits into this memory",
    ),
    "plan.fewer_workers": (
        "⚠️ 메모리에는 {wanted}개 중 {count}개만 동시에 들어갑니다 (하나에 호스트 메모리 {host:.1f} GiB)",
        "⚠️ Memory holds {count} of {wanted} at a time (each takes {host:.1f} GiB of host memory)",
    ),
    "plan.would_fit": ("들어가는 프리셋: --preset {preset}", "What would fit: --preset {preset}"),
    "plan.none_fits": ("더 작은 프리셋도 들어가지 않습니다", "No smaller preset fits either"),
    "plan.host": (
        "💾 노드 메모리(GiB, 라이브러리 제외): 모델 생성 {model:.1f}, 닫힌 꼴 시작 {start:.1f}, 준비 {prepared:.1f}, 스텝 {step:.1f}, "
        "체크포인트 저장 {save:.1f} (자리가 있으면 +{beside:.1f}); 사용 가능 {there:.1f}",
        "💾 A node's memory (GiB, libraries aside): model made {model:.1f}, start in closed form {start:.1f}, prepared {prepared:.1f}, "
        "a step {step:.1f}, a checkpoint's save {save:.1f} (+{beside:.1f} where there is room); usable: {there:.1f}",
    ),
    "plan.disk": (
        "💽 디스크: {wanted:.0f} GiB (에폭 {epochs:.0f}, 재개 상태 {states:.0f}, 모델 {models:.0f}); 에폭을 솎으면 {thinned:.0f} GiB",
        "💽 Disk: {wanted:.0f} GiB (epochs {epochs:.0f}, states {states:.0f}, models {models:.0f}); with epochs thinned {thinned:.0f} GiB",
    ),
    "plan.recalled": (
        "🧠 마이크로 배치 {size}(으)로 시작합니다({planned} 대신): 같은 학습에서 더 큰 것은 메모리가 부족했습니다 ({path}에 기록됨). "
        "잊게 하려면 이 파일을 지우거나 training.micro_batch_size=N 을 주세요",
        "🧠 Beginning with a micro-batch of {size} instead of {planned}: a larger one ran out of memory before, says {path}. To forget "
        "that, remove the file; training.micro_batch_size=N wins",
    ),
    "plan.cut_as_before": (
        "   마이크로 배치 {size}: 이 실행이 전에 자르던 대로 (메모리에는 {planned}까지 들어갑니다)",
        "   Micro-batch {size}, as this run was cut before (memory would hold {planned})",
    ),
    "plan.remembered": (
        "🧠 마이크로 배치 {size}을(를) 다음 학습을 위해 기억합니다: {path}",
        "🧠 A micro-batch of {size} is remembered for the next training: {path}",
    ),
    "plan.probing": (
        "🔎 가장 긴 상황(세그먼트 {segments}개)으로 마이크로 배치 {size}이(가) 메모리에 들어가는지 별도 프로세스에서 시험합니다 "
        "(training.probe_memory)",
        "🔎 Trying in a process of its own whether a micro-batch of {size} situations of {segments} segments fits (training.probe_memory)",
    ),
    "plan.probed": (
        "🔎 시험 결과: 마이크로 배치 {size} (계획 {planned})",
        "🔎 It came through with a micro-batch of {size} (planned: {planned})",
    ),
    "plan.probe_short": (
        "⚠️ 시험에서는 상황 하나도 메모리에 들어가지 않았습니다",
        "⚠️ In the trial not even a micro-batch of one situation fitted",
    ),
    "plan.probe_failed": (
        "⚠️ 메모리 시험이 다른 이유로 실패했습니다. 계획대로 시작합니다: {reason}",
        "⚠️ The trial of memory failed for another reason; beginning as planned: {reason}",
    ),
    "plan.cache_unreadable": (
        "⚠️ 전에 들어간 마이크로 배치의 기록을 읽지 못했습니다: {reason}",
        "⚠️ What micro-batches fitted before could not be read: {reason}",
    ),
    "plan.cache_unwritable": (
        "⚠️ 들어간 마이크로 배치를 기억하지 못했습니다: {reason}",
        "⚠️ The micro-batch that fits could not be remembered: {reason}",
    ),
    "plan.seconds": (
        "⏱️ 스텝당 약 {seconds:.2g}초 (추정, 제조사 수치 기준; 전체 시간은 --situations N)",
        "⏱️ About {seconds:.2g} s a step (reckoned from makers' figures; --situations N tells the hours)",
    ),
    "plan.hours": (
        "⏱️ 스텝당 약 {seconds:.2g}초 (추정, 제조사 수치 기준) × {steps:,}스텝 = {hours:.1f}시간",
        "⏱️ About {seconds:.2g} s a step (reckoned from makers' figures) × {steps:,} steps = {hours:.1f} hours",
    ),
    "plan.idle": (
        "💤 전역 배치 {batch}에서는 스텝의 {share:.0%}만 계산합니다; 전역 배치 {busy} 이상이면 절반이 넘습니다",
        "💤 At a global batch of {batch} only {share:.0%} of a step is arithmetic; from a global batch of {busy} on it is half",
    ),
}
