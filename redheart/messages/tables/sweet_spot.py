"""Messages of the stage ``sweet_spot``: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {
    # Log lines
    "sweet_spot.start": (
        "🎯 스위트 스팟 분석: 모듈 {modules}개, 에포크 {epochs}개",
        "🎯 Sweet spots: modules {modules}, epochs {epochs}",
    ),
    "sweet_spot.no_checkpoint": (
        "⚠️ {path}: 기록은 있으나 유효한 체크포인트가 없는 에포크는 선택에서 제외합니다: {epochs}. `{command}` "
        "명령이 되돌릴 수 있는 것을 되돌립니다",
        "⚠️ {path}: these epochs have a record and no valid checkpoint, so none is chosen: {epochs}. `{command}` "
        "brings back what it can",
    ),
    "sweet_spot.no_record": (
        "⚠️ {path}: 체크포인트는 있으나 기록이 없는(잘린 줄?) 에포크는 선택에서 제외합니다: {epochs}. `{command}` "
        "명령이 되돌릴 수 있는 것을 되돌립니다",
        "⚠️ {path}: these epochs have a checkpoint and no record (a torn line?), so none is chosen: {epochs}. "
        "`{command}` brings back what it can",
    ),
    "sweet_spot.module": (
        "   {module}: 에포크 {epoch} (신뢰도 {confidence:.2f})",
        "   {module}: epoch {epoch} (confidence {confidence:.2f})",
    ),
    "sweet_spot.not_kept": (
        "⚠️ 모듈 {count}개는 자유롭게 골랐을 에포크의 가중치가 디스크 공간 때문에 남아 있지 않아 남은 것 중에서 골랐습니다: {wanted}",
        "⚠️ The free choice of {count} modules was given up for room on the disk, and the best of what is kept is taken: {wanted}",
    ),
    "sweet_spot.done": ("📄 스위트 스팟 보고서: {path}", "📄 Sweet spot report: {path}"),
    # The analysis as a whole
    "sweet_spot.dry_run": (
        "시험 실행(--no-param-update)이라 가중치가 변하지 않았습니다. 모든 에포크가 같은 모델이므로 선택할 것이 "
        "없습니다.",
        "This was a dry run (--no-param-update): weights did not change. Every epoch is the same model, so there is "
        "nothing to choose.",
    ),
    "sweet_spot.never_changed": (
        "시험 실행이 아닌데도 어느 에포크에서도 가중치가 변하지 않았습니다. 선택할 것이 없습니다. 학습률과 "
        "옵티마이저를 확인하세요.",
        "Weights did not change in any epoch although this was no dry run, so there is nothing to choose. Check the "
        "learning rate and the optimizer.",
    ),
    "sweet_spot.chosen": (
        "에포크 {epochs}개의 기록에서 모듈별 최적 에포크를 골랐습니다.",
        "The best epoch of each module was chosen from the records of {epochs} epochs.",
    ),
    "sweet_spot.chosen_few": (
        "에포크 {epochs}개의 기록에서 골랐습니다. 통계 검정을 하기에는 너무 적으므로(최소 8개) 모든 선택은 "
        "불확실합니다.",
        "Chosen from the records of {epochs} epochs. That is too few for statistical tests (at least 8), so every "
        "choice is uncertain.",
    ),
    # Why a technique votes or abstains
    "sweet_spot.too_few": (
        "값이 {count}개뿐이라 비교할 것이 없습니다",
        "there are only {count} values, so nothing to compare",
    ),
    "sweet_spot.constant_loss": (
        "손실이 모든 에포크에서 같습니다",
        "the loss is the same in every epoch",
    ),
    "sweet_spot.plateau.short": (
        "에포크 {count}개로는 추세 검정의 검정력이 없습니다. 대신 최저 손실 주변의 연속 구간 {first}–{last}의 "
        "중심을 택했습니다",
        "with {count} epochs a trend test has no power; instead the centre of the contiguous stretch {first}–{last} "
        "around the lowest loss",
    ),
    "sweet_spot.plateau.short_still_improving": (
        "에포크 {count}개 중 마지막이 최저 손실입니다. 아직 나아지는 중이며 평탄 구간이 보이지 않습니다",
        "the last of {count} epochs has the lowest loss: still improving, no plateau in sight",
    ),
    "sweet_spot.plateau.found": (
        "손실이 에포크 {first}–{last}에서 평탄합니다. 중심은 {centre}입니다",
        "the loss is flat in epochs {first}–{last}; the centre is {centre}",
    ),
    "sweet_spot.plateau.none": (
        "최저 수준에서 평탄하다고 입증된 구간이 없습니다",
        "no stretch at the best level is shown to be flat",
    ),
    "sweet_spot.plateau.still_improving": (
        "손실이 마지막 에포크까지 나아지고 있습니다(still improving). 평탄 구간이 없습니다",
        "the loss was still improving at the last epoch; there is no plateau",
    ),
    "sweet_spot.plateau.steady_fall": (
        "손실이 꾸준히 내려가며 방향이 바뀌지 않습니다. 아직 나아지는 중(still improving)이라 평탄 구간이 없습니다",
        "the loss falls steadily and does not change its course: still improving, no plateau",
    ),
    "sweet_spot.plateau.steady_rise": (
        "손실이 처음부터 꾸준히 올라갑니다. 평탄 구간이 없습니다",
        "the loss rises steadily from the start; there is no plateau",
    ),
    "sweet_spot.plateau.nothing_visible": (
        "추세도 변화점도 잡음 위로 보이지 않아 어느 에포크도 다른 에포크보다 낫다고 할 수 없습니다",
        "neither a trend nor a change point is visible above the noise: no epoch is better than another",
    ),
    "sweet_spot.task.no_metric": (
        "choose 분할에 이 모듈의 과제 정답이 없거나 모두 같아 과제 지표가 없습니다",
        "the module has no task metric: there are no targets of its task on choose, or they are all alike",
    ),
    "sweet_spot.task.constant": (
        "과제 점수가 모든 에포크에서 같습니다",
        "the task's skill is the same in every epoch",
    ),
    "sweet_spot.task.few": (
        "에포크 {epoch}의 과제 점수 {skill:.4f}이(가) 가장 높습니다(잡음을 추정하기에는 에포크가 적음)",
        "epoch {epoch} has the best skill, {skill:.4f} (too few epochs to estimate the noise)",
    ),
    "sweet_spot.task.best": (
        "에포크 {epoch}의 과제 점수 {skill:.4f}이(가) 가장 높으며 잡음 범위 안에 더 이른 에포크가 없습니다",
        "epoch {epoch} has the best skill, {skill:.4f}, and no earlier one is within the noise of it",
    ),
    "sweet_spot.task.parsimony": (
        "에포크 {epoch}(점수 {skill:.4f})은(는) 최고인 에포크 {best_epoch}({best_skill:.4f})와(과) 잡음 범위 안에서 같은 "
        "가장 이른 에포크입니다",
        "epoch {epoch} ({skill:.4f}) is the earliest within the noise of the best, epoch {best_epoch} "
        "({best_skill:.4f})",
    ),
    "sweet_spot.task.rising": (
        "과제 점수가 매 에포크 오르고 있습니다(still improving). 마지막 에포크 {epoch}이(가) 최고입니다({skill:.4f})",
        "the skill rises at every step and is still improving: the last epoch, {epoch}, is the best ({skill:.4f})",
    ),
    "sweet_spot.task.without_skill": (
        "에포크 {best_epoch}의 최고 점수 {best_skill:.4f}도 상수 예측기보다 낫지 않습니다. 에포크 {epoch}의 "
        "선택은 의미가 적습니다",
        "even the best skill ({best_skill:.4f}, epoch {best_epoch}) is no better than the constant predictor; epoch "
        "{epoch} means little",
    ),
    "sweet_spot.mcda.best": (
        "에포크 {epoch}의 가중 합이 가장 높습니다({score:.3f}; {weights})",
        "epoch {epoch} has the highest weighted sum ({score:.3f}; {weights})",
    ),
    "sweet_spot.mcda.renormalised": (
        "에포크 {epoch}의 가중 합이 가장 높습니다({score:.3f}). 측정되지 않았거나 일정한 기준({left_out})은 빼고 "
        "가중치를 다시 맞췄습니다: {weights}",
        "epoch {epoch} has the highest weighted sum ({score:.3f}); criteria not measured or constant "
        "({left_out}) are "
        "left out and the weights rescaled: {weights}",
    ),
    "sweet_spot.mcda.nothing_to_compare": (
        "손실도 과제 점수도 에포크를 구별하지 못합니다",
        "neither loss nor task skill tells the epochs apart",
    ),
    "sweet_spot.mcda.never_together": (
        "모든 기준이 함께 측정된 에포크가 없습니다",
        "there is no epoch in which all criteria were measured",
    ),
    "sweet_spot.gradient.none": (
        "어느 에포크에서도 기울기가 이 모듈에 닿지 않았습니다",
        "no gradient reached this module in any epoch",
    ),
    "sweet_spot.gradient.alike": (
        "모든 에포크의 기울기 상태가 비슷합니다(최저 {lowest:.2f})",
        "all epochs are about equally healthy (lowest {lowest:.2f})",
    ),
    "sweet_spot.gradient.healthiest": (
        "에포크 {epoch}의 기울기가 가장 건강하고({health:.2f}) 에포크 {worst_epoch}이(가) 가장 "
        "나쁩니다({worst_health:.2f})",
        "epoch {epoch} has the healthiest gradients ({health:.2f}), epoch {worst_epoch} the least healthy "
        "({worst_health:.2f})",
    ),
    "sweet_spot.voting.nobody": (
        "예측 성능을 보는 기법이 모두 기권했습니다",
        "all techniques that look at predictions abstain",
    ),
    "sweet_spot.voting.winner": (
        "투표 {votes}; 기권 {abstained}; 합의도 {agreement:.2f}",
        "votes {votes}; abstained {abstained}; agreement {agreement:.2f}",
    ),
    # Why an epoch was chosen without a vote
    "sweet_spot.choice.only_epoch": (
        "에포크가 {epoch} 하나뿐입니다",
        "{epoch} is the only epoch",
    ),
    "sweet_spot.choice.with_backbone": (
        "이 모듈을 두고 의견을 낸 기법이 없어 함께 학습된 backbone의 에포크 {epoch}을(를) 따릅니다",
        "no technique has an opinion, so the module goes with the backbone it was trained with: epoch {epoch}",
    ),
    "sweet_spot.choice.last": (
        "의견을 낸 기법이 없어 마지막 에포크 {epoch}을(를) 택합니다",
        "no technique has an opinion, so the last epoch, {epoch}, is taken",
    ),
    "sweet_spot.choice.not_kept": (
        "자유로운 선택인 에포크 {wanted}의 가중치는 디스크 공간 때문에 남아 있지 않습니다. 남은 것 가운데 에포크 {epoch}이(가) 가장 "
        "좋습니다",
        "the weights of the free choice, epoch {wanted}, were given up for room on the disk; of those kept epoch {epoch} is "
        "the best",
    ),
    # The report
    "sweet_spot.report.title": ("스위트 스팟 분석", "Sweet spot analysis"),
    "sweet_spot.report.read": (
        "모듈마다 가장 좋았던 에포크를 `choose` 분할의 기록에서 다섯 기법으로 찾습니다. 에포크 번호는 기록에 "
        "적힌 그대로(1부터)입니다. "
        "신뢰도는 0(근거 없음)에서 1 사이이며 확률이 아닙니다.",
        "For each module, the epoch at which it was at its best, by five techniques, from its records on the "
        "`choose` "
        "split. Epochs are numbered from 1 as in the records. A confidence lies between 0 (nothing speaks for this "
        "epoch) and 1; it is not a probability.",
    ),
    "sweet_spot.report.span": (
        "기록된 에포크: {first}–{last} ({count}개)",
        "Epochs on record: {first}–{last} ({count})",
    ),
    "sweet_spot.report.choices": ("선택", "Choices"),
    "sweet_spot.report.column.module": ("모듈", "module"),
    "sweet_spot.report.column.epoch": ("에포크", "epoch"),
    "sweet_spot.report.column.confidence": ("신뢰도", "confidence"),
    "sweet_spot.report.column.plateau": ("평탄 구간", "plateau"),
    "sweet_spot.report.column.task_metrics": ("과제 지표", "task"),
    "sweet_spot.report.column.mcda": ("다기준", "multi-criteria"),
    "sweet_spot.report.column.gradient_health": ("기울기", "gradient"),
    "sweet_spot.report.column.note": ("비고", "note"),
    "sweet_spot.report.abstention": ("–: 기권", "–: abstains"),
    "sweet_spot.report.improving": ("아직 나아지는 중", "still improving"),
    "sweet_spot.report.no_opinion": ("의견 없음", "no opinion"),
    "sweet_spot.report.not_kept": ("{wanted}을(를) 골랐겠으나 남아 있지 않음", "would be {wanted}, not kept"),
    "sweet_spot.report.many_not_kept": (
        "모듈 {count}개는 자유로운 선택의 가중치가 디스크 공간 때문에 남아 있지 않아, 남은 에포크 가운데 가장 좋은 것을 골랐습니다.",
        "Of {count} modules the weights of the free choice were given up for room on the disk: the best of what is kept is taken.",
    ),
    "sweet_spot.report.many_improving": (
        "모듈 {count}개가 마지막 에포크에서도 나아지고 있었습니다. 더 길게 학습하면 다른 선택이 나올 수 있습니다.",
        "{count} modules were still improving at the last epoch: a longer run may choose differently.",
    ),
    "sweet_spot.report.spread": (
        "선택된 에포크는 {first}–{last}에 걸쳐 있고 중앙값은 {median}입니다.",
        "The chosen epochs span {first}–{last}; their median is {median}.",
    ),
    "sweet_spot.report.caution": ("읽을 때 주의할 점", "What to keep in mind"),
    "sweet_spot.report.dependence": (
        "기법들은 독립된 표가 아닙니다. 평탄 구간·과제 지표·다기준 분석은 같은 예측, 같은 `choose` 표본을 "
        "읽으므로 셋이 일치해도 거의 한 의견입니다. "
        "그래서 이 셋은 한 가족으로 묶여 가장 확신하는 하나만큼만 셈하고, 기울기 상태만 따로 더하며, 전체의 "
        "상한은 {cap:.2f}입니다.",
        "The techniques are not independent votes. Plateau, task metrics and multi-criteria analysis read the same "
        "predictions on the same `choose` sample, so three of them in agreement are nearly one opinion. They "
        "count as "
        "one family, as sure as its surest member; only gradient health adds to it, and the whole never exceeds "
        "{cap:.2f}.",
    ),
    "sweet_spot.report.power": (
        "에포크가 {count}개이면 Mann–Kendall 검정의 검정력이 부족합니다({fewest}개 미만). 검정 대신 최저 손실 "
        "주변의 연속 구간을 쓰고 신뢰도의 상한은 {cap:.2f}입니다.",
        "With {count} epochs (fewer than {fewest}) the Mann–Kendall test has no power. In place of tests the plateau "
        "is the contiguous stretch around the lowest loss, at a confidence of {cap:.2f}.",
    ),
    "sweet_spot.report.discoveries": (
        "모듈 {modules}개를 함께 검정하므로 전체 추세와 변화점의 p-값은 Benjamini–Hochberg 방법으로 "
        "보정했습니다(수준 {level}).",
        "{modules} modules are tested together, so the p-values of trend and change are adjusted by "
        "Benjamini–Hochberg "
        "(level {level}).",
    ),
    "sweet_spot.report.crossover": (
        "모듈별로 고른 에포크를 섞는 것이 낫다는 보장은 없습니다. 함께 학습된 모듈은 섞으면 깨질 수 있습니다. "
        "판단은 `judge` 분할에서 내려집니다.",
        "Nothing guarantees that a mixture of epochs chosen module by module is better: modules trained together can "
        "break when mixed. That is decided on the `judge` split.",
    ),
    "sweet_spot.report.details": ("모듈별 근거", "Module by module"),
    "sweet_spot.report.methods": ("기법", "The techniques"),
    "sweet_spot.report.name.plateau": ("평탄 구간", "plateau"),
    "sweet_spot.report.name.task_metrics": ("과제 지표", "task metrics"),
    "sweet_spot.report.name.mcda": ("다기준 분석", "multi-criteria"),
    "sweet_spot.report.name.gradient_health": ("기울기 상태", "gradient health"),
    "sweet_spot.report.name.voting": ("투표", "voting"),
    "sweet_spot.report.method.plateau": (
        "손실이 도달해 머무는 하나의 연속 구간의 중심. CUSUM이 방향 변화를 확인하고, PELT(ruptures)가 직선 "
        "구간으로 나누며, 구간은 기울기의 신뢰 한계로 평탄함이 "
        "입증되고 Mann–Kendall(20개 이상이면 Hamed–Rao 보정) 추세가 없으며 최저 수준에 있어야 합니다. 신뢰도: "
        "평탄 한계에 남은 여유.",
        "The centre of the one contiguous stretch in which the loss has arrived and stays. CUSUM confirms that the "
        "curve changes its course, PELT (ruptures) cuts it into straight stretches; the stretch must be shown to be "
        "flat by the confidence bound of its slope, have no Mann–Kendall trend (corrected by Hamed–Rao from 20 "
        "points "
        "on) and lie at the best level. Confidence: the room left below the largest slope that counts as flat.",
    ),
    "sweet_spot.report.method.task_metrics": (
        "과제 점수의 세 에포크 평균이 최고 평균과 1-표준오차 안에 있는 가장 이른 에포크. "
        "신뢰도: 분명히 더 나쁜 에포크의 비율 × 분산 중 잡음이 아닌 비율.",
        "The earliest epoch whose task skill, averaged over three epochs, is within one standard error of the best "
        "average. Confidence: share of the epochs that are clearly worse × share of the variance that is not noise.",
    ),
    "sweet_spot.report.method.mcda": (
        "손실 {loss:.0%}, 과제 {task:.0%}, 안정성 {stability:.0%}, 기울기 {gradient:.0%}의 가중 합"
        "(기준마다 에포크 간 최소–최대 정규화). 신뢰도: 과제 지표와 같은 방식 × 참여한 가중치.",
        "Weighted sum of loss {loss:.0%}, task {task:.0%}, stability {stability:.0%}, gradient {gradient:.0%}, each "
        "min–max normalised over the epochs. Confidence: as for the task metrics × weight that took part.",
    ),
    "sweet_spot.report.method.gradient_health": (
        "기울기 노름 비율, 갱신 대 파라미터 비율(1e-3 경험 법칙), 변한 가중치 행의 비율의 기하 평균. 신뢰도: "
        "중앙값과의 차이의 절반.",
        "Geometric mean of gradient norm ratio, update-to-parameter ratio (1e-3 rule of thumb) and the share of "
        "weight "
        "rows that changed. Confidence: half the lead over the middle epoch.",
    ),
    "sweet_spot.report.method.voting": (
        "신뢰도로 가중한 표를 이웃 에포크로 조금 번지게 하여 더합니다.",
        "Votes weighted by confidence, smeared a little over neighbouring epochs.",
    ),
    "sweet_spot.report.nothing": (
        "선택이 없으므로 교차 결합의 승자도 없습니다.",
        "No choices, so there is no winner to combine either.",
    ),
    "sweet_spot.report.plots": (
        "그림: `overview.png`와 모듈마다 하나의 PNG.",
        "Plots: `overview.png`, and one PNG per module.",
    ),
}
