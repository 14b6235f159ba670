"""Messages of the stage ``training``: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {
    "training.start": (
        "🚀 학습 시작: {epochs} 에폭, LR {learning_rate:g}, 프리셋 {preset} ({why}), 엔진 {engine}, 정밀도 {precision}",
        "🚀 Training: {epochs} epochs, LR {learning_rate:g}, preset {preset} ({why}), engine {engine}, precision {precision}",
    ),
    "training.geometry": (
        "   배치: 마이크로 {micro} × 누적 {accumulation} × 프로세스 {world} = 전체 {total}",
        "   Batch: micro {micro} × accumulation {accumulation} × processes {world} = global {total}",
    ),
    "training.splits": (
        "   분할: 학습 {train}, 선택 검증 {choose}, 판정 검증 {judge}, 테스트 {test} (텍스트 해시 기준, 서로 겹치지 않음)",
        "   Splits: train {train}, choose {choose}, judge {judge}, test {test} (by a hash of the text, disjoint)",
    ),
    "training.options": ("   켜진 설정: {options}", "   Turned on: {options}"),
    "training.slower_tasks": (
        "   목표가 있는 상황이 적은 과제는 그만큼 천천히 학습합니다: {tasks}",
        "   Tasks with fewer targets learn more slowly by as much: {tasks}",
    ),
    "training.solving": (
        "   선형·방사 경로의 출발점을 학습 상황 {situations}개에서 구합니다 (training.linear_start)",
        "   Solving where linear and radial paths start, on {situations} training situations (training.linear_start)",
    ),
    "training.solved": (
        "   출발점을 {seconds:.1f}초에 구했습니다: {tasks}",
        "   Solved in {seconds:.1f} s: {tasks}",
    ),
    "training.unsolved": (
        "   목표가 {fewest}개 미만이라 0에서 출발: {tasks}",
        "   Start at nothing, with fewer than {fewest} targets: {tasks}",
    ),
    "training.option_schedule_wsd": (
        "WSD 스케줄 (마지막 {share:.0%} 감소)",
        "WSD schedule (down over the last {share:.0%})",
    ),
    "training.option_layer_lr_decay": ("층별 LR 감쇠 {decay:g}", "layer-wise LR decay {decay:g}"),
    "training.option_ema": (
        "가중치 EMA {decay:g} (평가와 체크포인트는 평균으로)",
        "EMA of the weights {decay:g} (evaluated and kept)",
    ),
    "training.option_label_smoothing": ("레이블 스무딩 {share:g}", "label smoothing {share:g}"),
    "training.option_r_drop": ("R-Drop {weight:g}", "R-Drop {weight:g}"),
    "training.dry_run": (
        "   --no-param-update: 순전파와 역전파만 하고 옵티마이저 스텝은 하지 않습니다",
        "   --no-param-update: forward and backward only, no optimizer step is taken",
    ),
    "training.building": (
        "🔧 DeepSpeed 확장을 처음 사용하므로 컴파일합니다 ({names}): 1~2분 걸릴 수 있습니다",
        "🔧 DeepSpeed compiles its extensions at their first use ({names}): this may take a minute or two",
    ),
    "training.built_ahead": (
        "✅ DeepSpeed 확장 {name}: 미리 컴파일되어 있음 ({folder})",
        "✅ DeepSpeed's extension {name}: built ahead ({folder})",
    ),
    "training.builds": (
        "🔧 DeepSpeed 확장 {name}: 아직 없음, 지금 컴파일합니다, 약 {seconds}초 ({folder})",
        "🔧 DeepSpeed's extension {name}: not built: will be built now, about {seconds} s ({folder})",
    ),
    "training.built": (
        "✅ DeepSpeed 확장 컴파일 완료 ({names}): {seconds:.0f}초",
        "✅ DeepSpeed's extensions are built ({names}): {seconds:.0f} s",
    ),
    "training.extension_abandoned": (
        "⚠️ {path}: 컴파일 중에 종료된 프로세스가 남긴 잠금 파일이라 삭제했습니다 (남아 있으면 DeepSpeed가 끝없이 기다립니다)",
        "⚠️ {path}: left behind by a process that was killed while it compiled; removed, or DeepSpeed would wait for ever",
    ),
    "training.extension_busy": (
        "⏳ 다른 프로세스({holder})가 DeepSpeed 확장을 컴파일하는 동안 기다립니다: {path}. 잡고 있는 프로세스가 보이지 않으면(?) "
        "{minutes}분 동안 변화가 없을 때 삭제합니다. 아무도 컴파일하지 않는 것이 확실하면 이 파일을 직접 지우세요",
        "⏳ Waiting while another process ({holder}) compiles DeepSpeed's extension: {path}. One whose holder can't be seen (?) is "
        "removed after {minutes} minutes without a change. If you are sure that nothing compiles there, remove the file",
    ),
    "training.from": (
        "출발점 (닫힌 해, 학습 전): 검증 {choose:.4f} ({count}개), skill {skill}",
        "Start (closed form, before training): validation {choose:.4f} ({count} situations), skill {skill}",
    ),
    "training.epoch": (
        "Epoch {epoch}/{epochs}: loss 학습 {train:.4f}, 검증 {choose:.4f} ({count}개), gradient norm {norm}, "
        "skill {skill}, {rate:.1f} 상황/초",
        "Epoch {epoch}/{epochs}: loss train {train:.4f}, validation {choose:.4f} ({count} situations), gradient norm {norm}, "
        "skill {skill}, {rate:.1f} situations/s",
    ),
    "training.checkpoint": ("💾 체크포인트 저장: {path}", "💾 Checkpoint saved: {path}"),
    "training.updated": (
        "✅ 파라미터 업데이트됨: {count}/{total} 모듈, 상대 변화 {lowest:.1e} ~ {highest:.1e} ({steps} 스텝)",
        "✅ Parameters updated: {count}/{total} modules, relative change {lowest:.1e} to {highest:.1e} ({steps} steps)",
    ),
    "training.not_updated": (
        "⚠️ 업데이트되지 않은 모듈: {modules}{reason}",
        "⚠️ Modules that did not update: {modules}{reason}",
    ),
    "training.dead_tensors": (
        "⚠️ 업데이트되지 않은 텐서 {count}개: {tensors}",
        "⚠️ {count} tensors did not update: {tensors}",
    ),
    "training.module_update": (
        "   {module}: 상대 변화 {relative:.1e}, 변하지 않은 행 {still:.1%}",
        "   {module}: relative change {relative:.1e}, unmoved rows {still:.1%}",
    ),
    "training.module_still": (
        "⚠️ {module}: 상대 변화 {relative:.1e} ≤ {threshold:g}, 변하지 않은 행 {still:.1%}",
        "⚠️ {module}: relative change {relative:.1e} ≤ {threshold:g}, unmoved rows {still:.1%}",
    ),
    "training.liveness": (
        "🫀 처음 {steps} 스텝: 텐서 {count}개 모두 살아 있음 (그룹 중앙값 대비 가장 작은 gradient {gradient:.1e}, "
        "가장 작은 상대 변화 {update:.1e})",
        "🫀 First {steps} steps: all {count} tensors are alive (smallest gradient {gradient:.1e} of its group's median, "
        "smallest relative change {update:.1e})",
    ),
    "training.liveness_dry": (
        "🫀 처음 {steps} 스텝: 텐서 {count}개 모두에 gradient가 있음 (그룹 중앙값 대비 가장 작은 것 {gradient:.1e}). "
        "--no-param-update 이므로 변화는 확인하지 않음",
        "🫀 First {steps} steps: all {count} tensors have a gradient (smallest {gradient:.1e} of its group's median). "
        "With --no-param-update no change is looked for",
    ),
    "training.liveness_dead": ("⚠️ 학습되지 않는 텐서: {line}", "⚠️ Dead tensor: {line}"),
    "training.liveness_untrainable": (
        "   처음 스텝들의 데이터에 없는 것: {lacking}. 이것만 쓰는 텐서 {count}개는 판단할 수 없음",
        "   The first steps' data lack: {lacking}. {count} tensors that need nothing else can't be judged",
    ),
    "training.liveness_tensor": (
        "{name} (모듈 {module}, 그룹 {group}): {faults}",
        "{name} (module {module}, group {group}): {faults}",
    ),
    "training.liveness_more": ("그 밖에 {count}개: {modules}", "{count} more: {modules}"),
    "training.liveness_not_held": ("옵티마이저에 없음", "not in the optimizer"),
    "training.liveness_no_gradient": ("gradient 없음", "no gradient"),
    "training.liveness_faint_gradient": (
        "gradient가 그룹 중앙값의 {relative:.0e}배뿐임 (기준 {allowed:g})",
        "its gradient is {relative:.0e} of its group's median (at least {allowed:g} wanted)",
    ),
    "training.liveness_no_update": ("weight decay 외에는 변하지 않음", "unchanged but for weight decay"),
    "training.liveness_dead_rows": (
        "출력 {rows}개 중 {count}개가 죽어 있음 ({ranges}번)",
        "{count} of its {rows} outputs are dead (rows {ranges})",
    ),
    "training.liveness_wrong_gradient": (
        "autograd와 유한 차분이 다름 (상대 오차 {error:.1e}, float64)",
        "autograd and finite differences differ (relative error {error:.1e}, float64)",
    ),
    "training.liveness_saved": ("💾 생존 검사 저장: {path}", "💾 Liveness examination saved: {path}"),
    "training.reason_dry_run": (" (--no-param-update 이므로 당연함)", " (as expected with --no-param-update)"),
    "training.reason_no_target": (" (데이터에 그 타깃이 없음)", " (the data have no target for them)"),
    "training.smaller_micro_batch": (
        "⚠️ 메모리 부족: 마이크로 배치 {before} → {after} (전체 배치는 그대로)",
        "⚠️ Out of memory: micro-batch {before} → {after} (the global batch stays)",
    ),
    "training.alloc_retries": (
        "⚠️ GPU 메모리가 거의 찼습니다: 할당기가 캐시를 비우고 {count}번 다시 시도했습니다(그때마다 느려집니다). {size}보다 작은 "
        "training.micro_batch_size를 주거나 GPU의 다른 프로그램을 끝내세요",
        "⚠️ The GPU's memory is nearly used up: its allocator gave back its cache and tried again {count} times, and each takes time. Give "
        "a training.micro_batch_size below {size}, or end other programs on the GPU",
    ),
    "training.swapping": (
        "⚠️ 호스트 메모리 부족: 이 프로세스의 {mib} MiB가 디스크로 밀려나 학습이 몇 배로 느려질 수 있습니다. 다른 프로그램을 끝내거나 "
        "더 작은 training.micro_batch_size, model.preset을 쓰세요",
        "⚠️ Host memory is short: {mib} MiB of this process went to the disk, which can make training many times slower. End others, "
        "or give a smaller training.micro_batch_size or model.preset",
    ),
    "training.smaller_start": (
        "⚠️ 출발점을 구하는 중 메모리 부족 ({reason}): 상황 {before} → {after}개로 이어집니다",
        "⚠️ Out of memory while the start is solved ({reason}): going on with {after} situations in the stead of {before}",
    ),
    "training.smaller_evaluation": (
        "⚠️ 평가 중 메모리 부족: 한 번에 {before} → {after}개",
        "⚠️ Out of memory while evaluating: {before} → {after} situations at once",
    ),
    "training.nonfinite": (
        "⚠️ 에폭 {epoch} 배치 {batch}: loss 또는 gradient가 유한하지 않아 스텝을 건너뜀. 상황 id: {ids}",
        "⚠️ Epoch {epoch}, batch {batch}: loss or gradient not finite, step skipped. Situations: {ids}",
    ),
    "training.init_from": (
        "   {path}의 가중치에서 시작합니다 (에폭 {epoch}, 데이터 {dataset})",
        "   Starting from the weights of {path} (epoch {epoch}, data {dataset})",
    ),
    "training.snapshot_waits": (
        "   메모리가 부족하여({free:.1f} GiB 남음, {needed:.1f} GiB 필요) 에폭 체크포인트를 쓰는 동안 학습이 멈춥니다",
        "   training waits while epochs' checkpoints are written: host memory for a copy of the weights is short "
        "({free:.1f} GiB free, {needed:.1f} GiB needed)",
    ),
    "training.state_saved": (
        "💾 재개 상태 저장: 에폭 {epoch}, 배치 {batch} ({seconds:.1f}초)",
        "💾 State saved: epoch {epoch}, batch {batch} ({seconds:.1f} s)",
    ),
    "training.resumed": (
        "🔄 이어서 학습: 에폭 {epoch}, 배치 {batch} ({path})",
        "🔄 Resuming at epoch {epoch}, batch {batch} ({path})",
    ),
    "training.resumed_elsewhere": (
        "   상태는 {was}(프로세스 {processes}개)에서 저장됨, 지금은 {engine}(프로세스 {now}개): 같은 가중치와 모멘트에서 이어지며, "
        "합의 순서가 달라 손실이 반올림만큼 다를 수 있음",
        "   saved under {was} with {processes} process(es), going on under {engine} with {now}: from the same weights and moments; "
        "sums are taken in another order, so that losses may differ by rounding",
    ),
    "training.resumed_nearly": (
        "   {engine}: CPU용 DeepSpeed Adam은 편향 보정을 상태 밖의 누적곱으로 계산하므로, 중단하지 않은 학습과 비트까지 같지는 않음",
        "   {engine}: DeepSpeed's Adam for the CPU computes its bias correction from a running product outside any state, so that "
        "this is not bit by bit what the run would have been without the stop",
    ),
    "training.resume_passed_over": (
        "⚠️ 손상된 재개 상태를 건너뜀: {reason}",
        "⚠️ Damaged resume state passed over: {reason}",
    ),
    "training.starts_over": (
        "⚠️ 쓸 수 있는 재개 상태가 없어({resume}) 이 실행을 처음부터 다시 학습합니다. 지금까지의 에폭, 기록, 결과는 {path} 에 보존했습니다",
        "⚠️ No resume state can be used ({resume}), so this run starts over; its epochs, records and results so far are kept in {path}",
    ),
    "training.lost_epochs_again": (
        "🔁 {path}: 에폭 {epochs}의 체크포인트나 기록이 없거나 손상되었습니다. 그 이전의 재개 상태에서 다시 학습합니다",
        "🔁 {path}: checkpoint or record of these epochs is missing or damaged: {epochs}. They are trained again from an "
        "earlier resume state",
    ),
    "training.lost_epochs": (
        "⚠️ {path}: 에폭 {epochs}의 체크포인트나 기록이 없거나 손상되었고, 그 이전의 재개 상태도 없습니다. 사본에서 되돌리거나, "
        "같은 명령에 --force를 붙여 처음부터 다시 학습할 수 있습니다",
        "⚠️ {path}: checkpoint or record of these epochs is missing or damaged, and no resume state is earlier: {epochs}. "
        "Put them back from a copy; the same command with --force trains the whole run again",
    ),
    "training.done_already": (
        "⏭️ 같은 설정과 데이터로 이미 학습됨 ({epochs} 에폭): 건너뜀 (--force 로 다시 실행)",
        "⏭️ Already trained with these settings and data ({epochs} epochs): skipped (--force trains again)",
    ),
    "training.retired": (
        "📦 이전 학습 결과를 {path} 로 옮겼습니다 (다른 실행: {why})",
        "📦 The previous run's results were moved to {path} (another run: {why})",
    ),
    "training.interrupted": (
        "🛑 중단 요청: 에폭 {epoch}, 배치 {batch} 상태를 저장했습니다. 같은 명령으로 이어집니다",
        "🛑 Asked to stop: state saved at epoch {epoch}, batch {batch}. The same command goes on from there",
    ),
    "training.done": (
        "🏁 학습 완료: {epochs} 에폭, {seconds:.0f}초",
        "🏁 Training done: {epochs} epochs, {seconds:.0f} s",
    ),
    "training.oom_stats": ("💾 OOM 통계 저장: {path} ({count}건)", "💾 OOM statistics saved: {path} ({count} events)"),
    "training.last_state_not_saved": (
        "⚠️ 마지막 재개 상태를 쓰지 못했습니다: {reason}. 모든 에폭이 학습되어 남아 있으므로 실행은 끝난 것으로 봅니다",
        "⚠️ The last resume state could not be written: {reason}. All epochs are trained and kept, so the run counts as finished",
    ),
    "training.thinned": (
        "💾 디스크 공간을 위해 에폭 {epochs}에서 모듈 파일 {size:,.1f} MiB를 지웠습니다. 마지막 {last}개 에폭과 가장 좋은 에폭은 온전히 "
        "남습니다",
        "💾 Room on the disk: {size:,.1f} MiB of module files given up, of epochs {epochs}; the last {last} and the best stay whole",
    ),
    "training.not_thinned": (
        "⚠️ 에폭 체크포인트를 줄이지 못했습니다: {reason}",
        "⚠️ Epochs could not be thinned: {reason}",
    ),
}
