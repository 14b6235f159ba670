"""Messages of the stage ``report``: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {
    "report.saved": ("📄 최종 보고서: {path}", "📄 Final report: {path}"),
    "report.title": ("Red Heart 보고서", "Red Heart report"),
    "report.badge_dry_run": ("시험 실행: 가중치 변경 없음", "dry run: weights did not change"),
    "report.badge_no_result": ("비교 결과 없음", "no comparison"),
    "report.badge_none": ("승자 없음", "no winner"),
    "report.badge_clear": ("뚜렷한 승자", "clear winner"),
    "report.badge_unclear": ("뚜렷한 승자 없음", "no clear winner"),
    "report.absent_crossover": (
        "크로스오버가 아직 실행되지 않았으므로 비교할 모델이 없습니다. `redheart crossover`를 실행하세요.",
        "No crossover was run, so there are no models to compare. `redheart crossover` does it.",
    ),
    "report.absent_sweep": (
        "이 출력 폴더에는 LR 스윕이 없습니다. 학습률이 직접 지정되었거나 스윕이 실행되지 않았습니다.",
        "There is no LR sweep in this output folder: the learning rate was given, or nothing was swept.",
    ),
    "report.absent_training": (
        "아직 학습 기록이 없습니다. `redheart train`을 실행하세요.",
        "There are no training records yet. `redheart train` writes them.",
    ),
    "report.absent_spots": (
        "스위트 스팟 분석이 아직 실행되지 않았습니다. `redheart analyze`를 실행하세요.",
        "No sweet spots were looked for. `redheart analyze` does it.",
    ),
    "report.absent_oom": (
        "OOM 통계가 없습니다. 학습이 끝나면 기록됩니다.",
        "There are no OOM statistics; training writes them at its end.",
    ),
    "report.damaged": (
        "파일을 읽을 수 없어 이 부분은 비어 있습니다:",
        "A file can't be read, so this part is empty:",
    ),
    "report.not_scored": ("정답이 없어 채점 불가", "no target to score"),
    "report.constant": ("정답이 모두 같아 스킬이 없음", "no skill: targets all alike"),
    "report.tile_delivered": ("사용할 모델", "the model to use"),
    "report.tile_judge": ("judge 손실", "loss on judge"),
    "report.tile_situations": ("상황 {count}개", "{count} situations"),
    "report.tile_difference": (
        "마지막 에포크와의 손실 차이 (음수일수록 좋음)",
        "difference to the last epoch (below 0 is better)",
    ),
    "report.tile_is_last": ("마지막 에포크 자신", "it is the last epoch"),
    "report.tile_probability": ("마지막 에포크보다 나을 확률", "better than the last epoch"),
    "report.tile_resamples": ("재표본 {count}개 중 비율", "of {count} resamples"),
    "report.tile_skill": ("평균 스킬 (judge)", "mean skill on judge"),
    "report.tile_skill_test": ("test: {skill}", "on test: {skill}"),
    "report.heading_tasks": ("과제별 성능", "Tasks"),
    "report.heading_candidates": ("후보 비교", "Candidates"),
    "report.heading_skill_matrix": ("후보별 과제 스킬 (judge)", "Skill of each candidate on judge"),
    "report.heading_sweep": ("학습률 스윕", "Learning-rate sweep"),
    "report.heading_training": ("학습 곡선", "Training curves"),
    "report.heading_modules": ("모듈 상태", "Modules"),
    "report.heading_spots": ("스위트 스팟", "Sweet spots"),
    "report.heading_data": ("데이터", "Data"),
    "report.heading_machine": ("실행 환경", "Machine"),
    "report.heading_oom": ("메모리와 OOM", "Memory and OOM"),
    "report.heading_config": ("설정", "Configuration"),
    "report.heading_files": ("파일", "Files"),
    "report.lead_tasks": (
        "전달된 모델({name})의 스킬: 1은 완벽한 예측, 0은 학습 분할에 맞춘 상수 예측기와 같음, 음수는 그보다 나쁨. "
        "{confidence}% 부트스트랩 구간이 함께 표시됩니다.",
        "Skill of the delivered model ({name}): 1 is perfect, 0 is as good as the constant predictor fitted on the "
        "training split, below 0 is worse than that; with {confidence} % bootstrap intervals.",
    ),
    "report.note_tasks": (
        "괄호 안은 같은 항목에 대한 상수 예측기의 값입니다. judge는 모델을 고르는 데 쓰였고, test는 아무것도 "
        "결정하지 않았습니다.",
        "In brackets: what the constant predictor gets on the same items. judge picked the model; test decided "
        "nothing.",
    ),
    "report.heading_baseline": ("단순 경쟁자와의 비교 (test)", "Beside the simple baseline (test)"),
    "report.skill_model": ("모델의 스킬", "skill of the model"),
    "report.skill_baseline": ("경쟁자의 스킬", "skill of the baseline"),
    "report.less_baseline": ("차이", "difference"),
    "report.details_baseline": ("세부 (경쟁자)", "details (the baseline)"),
    "report.no_baseline": ("비교할 경쟁자나 정답이 없음", "no baseline, or no target to score"),
    "report.note_baseline": (
        "경쟁자와의 차이는 같은 재표본에서 짝지어 계산한 스킬의 차이로, 0보다 크면 모델이 낫습니다. 구간이 0을 포함하면 "
        "둘은 구별되지 않습니다.",
        "The difference to the baseline is one of skills, paired on the same resamples: above 0 the model is better, and an "
        "interval that holds 0 does not tell them apart.",
    ),
    "report.absent_baseline": (
        "이 모델을 단순 경쟁자와 비교한 결과가 없습니다. `redheart evaluate`로 볼 수 있고, `redheart crossover --force` 뒤에는 "
        "보고서에도 들어갑니다.",
        "This model was not set beside the simple baseline; `redheart evaluate` does it, and `redheart crossover --force` has it "
        "in the next report.",
    ),
    "report.task": ("과제", "task"),
    "report.measure": ("척도", "measure"),
    "report.details_test": ("test 세부 (상수 예측기)", "details on test (constant predictor)"),
    "report.task_emotion": ("감정", "emotion"),
    "report.task_bentham": ("벤담 쾌락 계산", "Bentham"),
    "report.task_regret": ("후회", "regret"),
    "report.task_surd": ("SURD", "SURD"),
    "report.task_verdict": ("판정", "verdict"),
    "report.measure_kl_skill": ("1 − KL ÷ 상수의 KL", "1 − KL ÷ KL of the constant"),
    "report.measure_log_loss_skill": (
        "1 − 로그 손실 ÷ 상수의 로그 손실",
        "1 − log-loss ÷ that of the constant",
    ),
    "report.measure_r2": ("R² (학습 평균 기준)", "R² against the training mean"),
    "report.rank_correlation": ("순위 상관", "rank correlation"),
    "report.mae": ("평균 오차", "mean error"),
    "report.lead_candidates": (
        "judge 손실이 가장 낮은 모델이 전달됩니다. 무작위 크로스오버는 대조군일 뿐 전달되지 않습니다.",
        "The model with the lowest loss on judge is delivered. Random crossovers are controls and never delivered.",
    ),
    "report.candidate": ("후보", "candidate"),
    "report.loss_on": ("{split} 손실", "loss on {split}"),
    "report.difference_interval": ("마지막 에포크와의 차이", "difference to last epoch"),
    "report.probability": ("더 나을 확률", "P(better)"),
    "report.delivered": ("전달됨", "delivered"),
    "report.reference": ("기준", "reference"),
    "report.epoch_is": ("에포크 {epochs}", "epoch {epochs}"),
    "report.epochs_are": ("에포크 {epochs}의 평균", "average of epochs {epochs}"),
    "report.epochs_by_module": (
        "모듈마다 다른 에포크 (모듈 상태 표 참조)",
        "an epoch for each module (see Modules)",
    ),
    "report.epochs_random": ("모듈마다 무작위 에포크", "a random epoch for each module"),
    "report.identical": ("{name}와(과) 가중치가 동일", "the same weights as {name}"),
    "report.note_candidates": (
        "손실은 헤드의 가중 손실(실제로 제공되는 예측의 손실)의 항목 평균입니다. 차이는 같은 상황끼리 짝지은 "
        "부트스트랩(재표본 {samples}개)의 {confidence}% 구간이며, 0보다 낮으면 마지막 에포크보다 좋습니다.",
        "The loss is the heads' weighted loss per situation: the loss of what is served. Differences are paired by "
        "situation, with {confidence} % intervals from {samples} bootstrap resamples; below 0 is better than the "
        "last epoch.",
    ),
    "report.mean": ("평균", "mean"),
    "report.soup": ("탐욕적 수프의 재료 (choose 손실):", "What the greedy soup tried (loss on choose):"),
    "report.soup_kept": ("에포크 {epoch} 추가 ({loss})", "epoch {epoch} kept ({loss})"),
    "report.soup_left": ("에포크 {epoch} 제외 ({loss})", "epoch {epoch} left out ({loss})"),
    "report.sweep_chosen": ("선택된 학습률", "chosen learning rate"),
    "report.sweep_loss": ("그 검증 손실", "its validation loss"),
    "report.sweep_interval": ("적합 최솟값의 구간", "interval of the fitted minimum"),
    "report.sweep_noise": ("실험 하나의 잡음 (표준편차)", "noise of one trial (standard deviation)"),
    "report.sweep_tested": ("지금까지 시험한 학습률", "learning rates ever tested here"),
    "report.sweep_within": (
        "최선과 구별되지 않는 학습률 {count}개: {rates}",
        "{count} learning rates can't be told from the best: {rates}",
    ),
    "report.sweep_edge": (
        "가장 좋은 학습률이 탐색 범위의 끝에 있습니다. 범위를 넓혀 보세요.",
        "The best learning rate lies at the edge of the range: widen it.",
    ),
    "report.rate_given": ("학습률은 지정된 값입니다.", "The learning rate was given."),
    "report.rate_default": (
        "학습률은 기본값입니다: 지정되지도, 스윕으로 찾지도 않았습니다.",
        "The learning rate is the default: none was given, and no sweep was asked.",
    ),
    "report.rate_sweep": ("학습률은 스윕 {sweep}의 선택입니다.", "The learning rate is the choice of sweep {sweep}."),
    "report.rate_shorter": (
        "스윕의 시행은 본 학습보다 짧습니다 (시행 → 본 학습):",
        "A sweep's trials are shorter than the training (a trial's → this one's):",
    ),
    "report.rate_differs": (
        "그 스윕은 다른 조건에서 찾았으므로, 이 학습에 가장 좋은 값이 아닐 수 있습니다 (스윕 → 이 학습):",
        "That sweep was made with other settings, so its choice need not be the best one here (the sweep's → these):",
    ),
    "report.rate_not_on_record": (
        "그 스윕의 조건은 모두 기록되어 있지 않습니다.",
        "Not all that it was made with is on record.",
    ),
    "report.sweep_unfinished": (
        "스윕이 끝나지 않아 아직 선택된 학습률이 없습니다.",
        "The sweep has not ended, so no learning rate is chosen yet.",
    ),
    "report.dry_run_training": (
        "시험 실행: 순전파와 역전파만 수행되었고 가중치는 바뀌지 않았습니다. 곡선의 변화는 학습의 결과가 아닙니다.",
        "Dry run: forward and backward only, weights did not change. Nothing in these curves is learning.",
    ),
    "report.one_epoch": (
        "에포크가 하나뿐이라 곡선이 점 하나입니다.",
        "There is only one epoch, so every curve is a point.",
    ),
    "report.lead_training": ("에포크 {epochs}개, 최고 학습률 {rate}.", "Epochs: {epochs}; peak learning rate: {rate}."),
    "report.best_epoch": (
        "전체 검증 손실(choose)은 에포크 {epoch}에서 가장 낮습니다.",
        "The total validation loss (choose) is lowest at epoch {epoch}.",
    ),
    "report.best_is_start": (
        "전체 검증 손실(choose)은 학습 전 출발점에서 가장 낮습니다. 어떤 에포크도 이보다 낮지 않습니다.",
        "The total validation loss (choose) is lowest at the start, before training: no epoch went below it.",
    ),
    "report.note_start": (
        "속이 빈 점은 학습 전 출발점(에포크 0, 닫힌 해)입니다. 거기까지의 스킬은 학습의 결과가 아닙니다.",
        "The hollow mark is the start, before training (epoch 0): a solution in closed form. Skill up to there is not training's.",
    ),
    "report.note_losses": (
        "곡선은 보조 항을 포함한 전체 손실로, 에포크 선택 중에서는 모듈별 선택에만(backbone은 전체, 나머지는 각자의 항) 쓰입니다. 최고 "
        "단일 에포크와 수프(choose), 전달할 모델(judge)은 헤드의 가중 손실, 곧 실제로 제공되는 예측의 손실로 정해지므로 "
        "에포크가 서로 다를 수 있습니다.",
        "The curves show the total loss, auxiliary terms included; of the choices of epochs only those module by "
        "module look at it (the backbone at the total, the others at their own terms), while the best single epoch "
        "and the soup (on choose) and the delivered model (on judge) follow the heads' weighted loss, the loss of "
        "what is served, so the epochs can differ.",
    ),
    "report.lead_modules": (
        "모듈마다 choose에서의 손실과 스킬의 변화(점은 선택된 에포크), 마지막 에포크의 기울기 노름과 가중치의 상대 "
        "변화.",
        "Loss and skill of each module on choose over the epochs (the dot is the chosen epoch), and in the last "
        "epoch its gradient norm and how much its weights moved.",
    ),
    "report.unchanged": (
        "어떤 모듈의 가중치도 바뀌지 않았으므로 선택할 에포크가 없습니다.",
        "No module's weights changed, so there is no epoch to choose.",
    ),
    "report.module": ("모듈", "module"),
    "report.chosen_epoch": ("선택 에포크 (신뢰도)", "chosen epoch (confidence)"),
    "report.loss_curve": ("손실", "loss"),
    "report.skill_curve": ("스킬", "skill"),
    "report.gradient": ("기울기 노름", "gradient norm"),
    "report.update": ("상대 변화", "relative update"),
    "report.update_curve": ("변화 추이", "updates"),
    "report.dead": ("안 움직인 행", "unmoved rows"),
    "report.still": ("업데이트 안 됨", "not updated"),
    "report.note_modules": (
        "상대 변화는 한 에포크 동안의 ‖Δw‖ ÷ ‖w‖, 안 움직인 행은 변화가 전혀 없는 가중치 행의 비율입니다. 각 "
        "곡선은 자기 범위에 맞춰 그려졌습니다.",
        "Relative update: ‖Δw‖ ÷ ‖w‖ over an epoch; unmoved rows: the share of weight rows without any change. "
        "Each curve has its own scale.",
    ),
    "report.sample": (
        "내장 샘플 데이터로 실행되었습니다. 흐름을 보여 주기 위한 것으로, 수치는 의미가 없습니다.",
        "This ran on the bundled sample: it shows how things work, and its numbers mean nothing.",
    ),
    "report.dataset": ("데이터셋", "dataset"),
    "report.embedding_model": ("임베딩 모델", "embedding model"),
    "report.split_train": ("학습 (train)", "train: trains"),
    "report.split_choose": ("검증: choose (에포크·학습률 선택)", "choose: picks epochs and learning rate"),
    "report.split_judge": ("검증: judge (전달할 모델 결정)", "judge: picks the delivered model"),
    "report.split_test": ("테스트 (아무것도 결정하지 않음)", "test: decides nothing"),
    "report.note_data": (
        "분할은 정규화된 텍스트의 해시로 정해지며 서로 겹치지 않습니다.",
        "Splits follow from a hash of the normalised text and don't overlap.",
    ),
    "report.trained_on": ("학습 환경", "trained on"),
    "report.processes": ("프로세스 {count}개", "processes: {count}"),
    "report.preset": ("모델 프리셋", "model preset"),
    "report.parameters": ("파라미터 {count}개", "{count} parameters"),
    "report.written_on": ("보고서 작성 환경", "report written on"),
    "report.cores": ("코어 {count}개", "{count} cores"),
    "report.memory": ("메모리 {size} ({free} 사용 가능)", "{size} of memory ({free} free)"),
    "report.no_gpu": ("없음", "none"),
    "report.not_installed": ("설치되지 않음", "not installed"),
    "report.step": ("스텝", "step"),
    "report.process": ("프로세스", "process"),
    "report.phase": ("단계", "phase"),
    "report.tried": ("다음 시도", "what was tried"),
    "report.memory_change": ("사용 메모리 전 → 후", "memory in use, before → after"),
    "report.cause": ("원인", "cause"),
    "report.strategy": ("전략", "strategy"),
    "report.cause_out_of_memory": ("메모리 부족", "out of memory"),
    "report.cause_killed": ("강제 종료", "killed"),
    "report.cause_port_taken": ("포트 사용 중", "port taken"),
    "report.given_up": ("중단", "given up"),
    "report.launch_events": (
        "학습 프로세스가 도중에 끝난 횟수 {count}번과 그 다음 시작:",
        "Times that the training's processes ended before their time, and how they were started again: {count}.",
    ),
    "report.oom_none": ("메모리 부족이 발생하지 않았습니다.", "Memory never ran out."),
    "report.oom_events": ("메모리 부족이 {count}번 발생했습니다.", "Times that memory ran out: {count}."),
    "report.oom_host": ("호스트 메모리 최대 {size}.", "Peak of host memory: {size}."),
    "report.oom_device": ("장치 메모리 최대 {size}.", "Peak of device memory: {size}."),
    "report.oom_micro": ("마지막 마이크로 배치 {count}.", "Final micro-batch: {count}."),
    "report.time": ("시각", "time"),
    "report.epoch": ("에포크", "epoch"),
    "report.micro_batch": ("마이크로 배치", "micro-batch"),
    "report.message": ("메시지", "message"),
    "report.show_config": ("이 실행의 전체 설정 (YAML)", "everything this run resolved to (YAML)"),
    "report.show_files": ("출력 폴더의 파일 {count}개", "{count} files in the output folder"),
    "report.file": ("파일", "file"),
    "report.file_count": ("개수", "files"),
    "report.file_size": ("크기", "size"),
    "report.same_facts": (
        "에 같은 사실이 기계가 읽을 수 있는 형태로 들어 있습니다.",
        "holds the same facts for programs.",
    ),
}
