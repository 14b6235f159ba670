"""Messages of the stage ``workflow``: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {
    "workflow.start": (
        "🚀 Red Heart {version}: {mode} 모드 시작, 출력 폴더 {output}",
        "🚀 Red Heart {version}: {mode}, output in {output}",
    ),
    "workflow.stage": ("\n── {number}/{total} {name} ──", "\n── {number}/{total} {name} ──"),
    "workflow.gpu": (
        "🖥️ GPU {index}: {name}, 메모리 {free:.1f}/{total:.1f} GiB 사용 가능",
        "🖥️ GPU {index}: {name}, {free:.1f} of {total:.1f} GiB free",
    ),
    "workflow.machine_cpu": (
        "🖥️ GPU 없음: CPU {cores} 코어, 메모리 {memory:.1f} GiB → 한 프로세스로 CPU에서 학습합니다",
        "🖥️ No GPU: {cores} CPU cores, {memory:.1f} GiB of memory → training on the CPU in one process",
    ),
    "workflow.machine_single": (
        "🖥️ GPU 1개, 호스트 메모리 {memory:.1f} GiB → 단일 GPU로 학습합니다",
        "🖥️ One GPU, {memory:.1f} GiB of host memory → training on a single GPU",
    ),
    "workflow.machine_multi": (
        "🖥️ GPU {count}개, 호스트 메모리 {memory:.1f} GiB → 스윕은 GPU마다 하나씩, 본 학습은 {count} 프로세스로 실행합니다",
        "🖥️ {count} GPUs, {memory:.1f} GiB of host memory → the sweep runs one trial per GPU, the training {count} processes",
    ),
    "workflow.epochs_thinned": (
        "💾 {path}에 {free:.1f} GiB 남음. 에폭 {epochs}개를 모두 두려면 최대 {wanted:.1f} GiB가 필요하므로, 모자라게 되면 마지막과 가장 "
        "좋은 에폭만 온전히 두고 나머지는 모듈별로 가장 좋은 파일만 남깁니다 (체크포인트 최대 {thinned:.1f} GiB). "
        "training.keep_epochs 참조",
        "💾 {path} has {free:.1f} GiB left, and all {epochs} epochs would need up to {wanted:.1f} GiB: once room runs short, the last and "
        "the best epochs stay whole, and of the others each module's best files (checkpoints up to {thinned:.1f} GiB). See "
        "training.keep_epochs",
    ),
    "workflow.low_disk": (
        "⚠️ 디스크가 모자랄 것입니다: {path}에 {free:.1f} GiB 남음, 최대 {wanted:.1f} GiB 필요 ({epochs} {of_epochs:.1f}, "
        "재개 상태 {of_states:.1f}, 결합 모델 {of_models:.1f} GiB). {help}",
        "⚠️ The disk will be full: {path} has {free:.1f} GiB left, and up to {wanted:.1f} GiB are needed ({epochs} "
        "{of_epochs:.1f}, states to go on from {of_states:.1f}, combined models {of_models:.1f} GiB). {help}",
    ),
    "workflow.low_disk_all": ("에폭 체크포인트 {count}개", "checkpoints of {count} epochs"),
    "workflow.low_disk_thinned": (
        "에폭 {count}개의 모듈별로 줄인 체크포인트",
        "checkpoints of {count} epochs, thinned by module,",
    ),
    "workflow.low_disk_keep": (
        "training.keep_last 나 training.keep_best 를 줄이거나",
        "Keep less with training.keep_last or training.keep_best;",
    ),
    "workflow.disk_full_next": (
        "⚠️ 디스크가 곧 찹니다: {path}에 {free:.2f} GiB 남음, 다음 에폭 체크포인트에 {of_epoch:.2f} GiB, 재개 상태에 {of_state:.2f} "
        "GiB 필요. 지금 자리를 만들지 않으면 학습이 거기서 끝납니다 (이 폴더 밖의 파일을 지우십시오. `redheart checkpoints rm` 은 실행이 "
        "멈춘 뒤에)",
        "⚠️ The disk is about to be full: {path} has {free:.2f} GiB left; the next epoch's checkpoint needs {of_epoch:.2f} GiB and a "
        "resume state {of_state:.2f} GiB. The run ends there unless room is made now (outside of this folder; `redheart checkpoints rm` "
        "once it has stopped)",
    ),
    "workflow.low_disk_models": (
        "⚠️ 디스크가 모자랄 것입니다: {path}에 {free:.2f} GiB 남음, 결합 모델에 {wanted:.2f} GiB 필요. `redheart checkpoints rm` 으로 "
        "필요 없는 에폭을 지우십시오",
        "⚠️ The disk will be full: {path} has {free:.2f} GiB left, and combined models need {wanted:.2f} GiB. `redheart checkpoints rm` "
        "removes epochs that nothing needs",
    ),
    "workflow.low_disk_bf16": (
        "training.checkpoint_dtype=bf16 이면 에폭 체크포인트가 절반이 됩니다. 또는 에폭을 줄이거나 --output 으로 다른 디스크를",
        "training.checkpoint_dtype=bf16 halves the epochs' checkpoints; or train fewer epochs, or name another disk with --output",
    ),
    "workflow.low_disk_fewer": (
        "에폭을 줄이거나 --output 으로 다른 디스크를 지정하십시오",
        "Train fewer epochs, or name another disk with --output",
    ),
    "workflow.parameters_ok": (
        "✅ 목표 파라미터 수 달성: {actual:.1f}M ≈ 730M",
        "✅ Parameter target met: {actual:.1f}M ≈ 730M",
    ),
    "workflow.parameters_off": (
        "⚠️ 파라미터 개수 불일치! 목표 {target}M, 실제 {actual:.1f}M, 차이 {difference:+.1f}M",
        "⚠️ Parameter count differs! Target {target}M, actual {actual:.1f}M, difference {difference:+.1f}M",
    ),
    "workflow.parameters_detail": (
        "   730m 프리셋: 목표 730.0M, 실제 {actual:.2f}M, 차이 {difference:+.2f}M (학습 프리셋과 무관하게 항상 계산)",
        "   Preset 730m: target 730.0M, actual {actual:.2f}M, difference {difference:+.2f}M (counted whatever preset trains)",
    ),
    "workflow.lr_given": ("🎯 학습률: {learning_rate:g} (지정됨)", "🎯 Learning rate: {learning_rate:g} (given)"),
    "workflow.lr_sweep": ("🎯 학습률: {learning_rate:g} ({path})", "🎯 Learning rate: {learning_rate:g} ({path})"),
    "workflow.lr_differs": (
        "⚠️ {path} 는 다른 조건의 스윕이 찾은 값입니다 (스윕 → 지금): {differs}. redheart sweep으로 이 조건에 맞는 값을 찾을 수 있습니다",
        "⚠️ {path} was found by a sweep with other settings (the sweep's → these): {differs}. redheart sweep finds one for these",
    ),
    "workflow.lr_shorter": (
        "   {path} 는 더 짧은 시행에서 찾은 값입니다 (시행 → 본 학습): {differs}",
        "   {path} was found in shorter trials (a trial's → this training's): {differs}",
    ),
    "workflow.lr_not_on_record": (
        "⚠️ {path}: 스윕의 조건이 모두 기록되어 있지 않으며, 지금과 같다고 할 수 없습니다. 알려진 차이 (스윕 → 지금): {differs}",
        "⚠️ {path}: not all that the sweep was made with is on record, and it is not known to be the same as now. Known to differ "
        "(the sweep's → this): {differs}",
    ),
    "workflow.lr_default": (
        "⚠️ 학습률이 지정되지 않았고 {path} 도 없습니다: 기본값 {learning_rate:g} 사용. redheart sweep으로 찾을 수 있습니다",
        "⚠️ No learning rate was given and there is no {path}: using {learning_rate:g}. redheart sweep finds one",
    ),
    "workflow.preset_asked": ("지정됨", "asked for"),
    "workflow.preset_cuda": ("auto: CUDA 장치가 있음", "auto: there is a CUDA device"),
    "workflow.preset_cpu": ("auto: CUDA 장치가 없음", "auto: there is no CUDA device"),
    "workflow.launch": ("🚀 {count} 프로세스로 학습 시작: {command}", "🚀 Training in {count} processes: {command}"),
    "launching.start_one": ("🚀 한 프로세스로 학습 시작: {command}", "🚀 Training in one process: {command}"),
    "launching.on_cpu": (
        "🖥️ 런처의 use_cpu: true (ACCELERATE_USE_CPU)에 따라 GPU를 쓰지 않습니다: 프리셋과 정밀도도 CPU에 맞춥니다",
        "🖥️ use_cpu: true of the launcher (ACCELERATE_USE_CPU): GPUs are left out, and preset and precision are chosen as for a CPU",
    ),
    "launching.handed_on": (
        "🛑 중단 요청을 학습 프로세스에 전달했습니다: 저장이 끝날 때까지 기다립니다 (Ctrl-C를 한 번 더 누르면 모두 즉시 종료)",
        "🛑 The request to stop goes to the training processes: waiting until they have saved (Ctrl-C once more ends all at once)",
    ),
    "launching.waiting": (
        "⏳ 프로세스 {rank}(전체 {size}개 중)이(가) {place}에서 다른 프로세스를 기다립니다: {who} ({until}까지). 혼자 실행하려면: {cure}",
        "⏳ Process {rank} of {size} waits at {place} for others: {who}, until {until}. To run as one process: {cure}",
    ),
    "launching.again_smaller": (
        "🔁 프로세스 {rank}의 메모리 부족 ({message}): 마이크로배치를 {before}에서 {after}(으)로 줄여 가장 최근 상태에서 다시 시작합니다. "
        "전역 배치는 그대로입니다",
        "🔁 Process {rank} ran out of memory ({message}): starting again from the newest state with a micro-batch of {after} in the stead "
        "of {before}; the global batch stays",
    ),
    "launching.again_strategy": (
        "🔁 {before}: 프로세스 {rank}의 메모리 부족, 더 줄일 수 없음 ({message}). 가장 최근 상태에서 {after}, 마이크로배치 {micro}(으)로 "
        "이어집니다. 전역 배치는 그대로입니다",
        "🔁 {before}: process {rank} ran out of memory, and smaller pieces do not help ({message}). Going on from the newest state by "
        "{after}, with a micro-batch of {micro}; the global batch stays",
    ),
    "launching.again_killed": (
        "🔁 프로세스 {rank}이(가) 강제 종료됨 ({message}): 가장 최근 상태에서 다시 시작합니다 (진전 없이 {count}/{most}번째)",
        "🔁 Process {rank} was killed ({message}): starting again from the newest state ({count} of at most {most} times without progress)",
    ),
    "launching.again_port": (
        "🔁 포트 {port}을(를) 다른 프로세스가 쓰고 있음: 포트 {new}(으)로 다시 시작합니다",
        "🔁 Port {port} is taken by another process: starting again with port {new}",
    ),
    "workflow.stop_heard": (
        "🛑 중단 요청을 받았습니다: 다음 안전한 지점에서 멈춥니다 (Ctrl-C를 한 번 더 누르면 즉시 중단)",
        "🛑 Asked to stop: stopping at the next safe place (Ctrl-C once more stops at once)",
    ),
    "workflow.stage_skipped": (
        "⏭️ {name}: 같은 입력으로 이미 완료됨, 건너뜀 (--force 로 다시 실행)",
        "⏭️ {name}: done before with the same inputs, skipped (--force does it again)",
    ),
    "workflow.data_changed": (
        "⚠️ {path}: 학습 후 데이터가 바뀌었습니다. 분석하는 기록은 학습 당시의 데이터에 대한 것입니다",
        "⚠️ {path}: the data has changed since training. The records that are analysed are of what it was then",
    ),
    "workflow.dataset_moved": (
        "📦 실행의 데이터를 {path} 에서 찾았습니다 (학습 당시 위치: {was}, 내용은 같음)",
        "📦 The run's data is found at {path} (when it was trained: {was}; it holds the same)",
    ),
    "workflow.source_changed": (
        "⚠️ {source}: 임베딩 이후 바뀌었습니다. 임베딩 당시의 데이터인 {path} 를 사용합니다. 바뀐 데이터를 쓰려면 --data {source}",
        "⚠️ {source} has changed since it was embedded. What is used is {path}, which is as it was; --data {source} takes it as it "
        "is now",
    ),
    "workflow.embeddings_kept": (
        "✅ 임베딩 확인: {count}개 상황, {path}",
        "✅ Embeddings confirmed: {count} situations, {path}",
    ),
    "workflow.done": ("🏁 완료: {seconds:.0f}초. 보고서: {report}", "🏁 Done in {seconds:.0f} s. Report: {report}"),
    "workflow.valid": (
        "✅ 검증 완료: 문제 없음. 아무것도 시작하지 않았습니다",
        "✅ Validated: nothing is wrong. Nothing was started",
    ),
    "workflow.valid_data": (
        "✅ 데이터: {path}, {count}개 상황 (학습 {train}, 선택 {choose}, 판정 {judge}, 테스트 {test})",
        "✅ Data: {path}, {count} situations (train {train}, choose {choose}, judge {judge}, test {test})",
    ),
    "workflow.evaluation_saved": ("💾 평가 저장: {path}", "💾 Evaluation saved: {path}"),
    "workflow.evaluation_not_stored": (
        "⚠️ {path}: 쓰기 권한이 없어 평가 결과를 저장하지 않습니다 (화면에만 출력합니다)",
        "⚠️ {path}: may not be written, so the numbers are printed and not stored",
    ),
    "workflow.log_left_out": (
        "⚠️ {path}: 쓰기 권한이 없어 로그 파일 없이 실행합니다",
        "⚠️ {path}: may not be written, so there is no log file",
    ),
    "workflow.convert_source": (
        "📦 {path}: {what}, 텐서 {count}개, {size} MB",
        "📦 {path}: {what}, {count} tensors, {size} MB",
    ),
    "workflow.convert_kept": (
        "↩️ {path}: 중단된 변환을 이어갑니다 — 파일 {total}개 중 {count}개는 이미 온전합니다",
        "↩️ {path}: going on with an interrupted conversion: {count} of {total} files are whole",
    ),
    "workflow.convert_progress": ("가중치 변환", "Converting weights"),
    "workflow.convert_done": ("💾 변환 완료: {path} ({size} MB)", "💾 Converted: {path} ({size} MB)"),
    "workflow.convert_hash": ("   SHA-256 {sha256}", "   SHA-256 {sha256}"),
    "workflow.convert_without_facts": (
        "⚠️ {path}: 모델의 크기와 학습 데이터가 알려지지 않아 evaluate, predict, export는 이 폴더를 읽지 못합니다. "
        "같은 모델의 체크포인트를 --facts-from으로 지정하면 그 정보가 함께 저장됩니다",
        "⚠️ {path}: nothing is known of the model's shape and data, so evaluate, predict and export can't take this folder; "
        "--facts-from CHECKPOINT of the same model adds what is known of that",
    ),
    "workflow.export_done": (
        "💾 모델 내보내기: {checkpoint} → {path} (모델 카드의 평가 {count}개)",
        "💾 Model exported: {checkpoint} → {path} (evaluations in its card: {count})",
    ),
    "workflow.stage_embed": ("데이터와 임베딩", "Data and embedding"),
    "workflow.stage_sweep": ("계층적 LR 스윕", "Hierarchical learning-rate sweep"),
    "workflow.stage_model": ("모델 확인", "Model check"),
    "workflow.stage_train": ("본 학습", "Training"),
    "workflow.stage_analyze": ("Sweet Spot 분석", "Sweet-spot analysis"),
    "workflow.stage_crossover": ("Parameter Crossover", "Parameter crossover"),
    "workflow.stage_report": ("최종 리포트", "Report"),
}
