"""Messages of the stage ``crossover``: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {
    "crossover.start": (
        "🔀 파라미터 크로스오버: 에포크 {epochs}개를 조합하고 비교합니다",
        "🔀 Parameter crossover: combining and comparing {epochs} epochs",
    ),
    "crossover.unrecorded": (
        "⚠️ 에포크 {epochs}: 체크포인트는 있으나 metrics.jsonl에 기록이 없어 최고 에포크와 수프 후보에서 제외됩니다",
        "⚠️ Epochs {epochs} have a checkpoint but no record in metrics.jsonl: left out of best epoch and soup",
    ),
    "crossover.candidate": ("   {name}: judge 손실 {loss}", "   {name}: judge loss {loss}"),
    "crossover.candidate_identical": (
        "   {name}: judge 손실 {loss} ({other}와(과) 가중치가 동일)",
        "   {name}: judge loss {loss} (the same weights as {other})",
    ),
    "crossover.fewer_whole": (
        "⚠️ 마지막 에포크 {wanted}개를 평균해야 하지만 디스크 공간 때문에 온전히 남은 것은 에포크 {epochs}뿐이므로, 이것만 "
        "평균합니다. 수프도 온전히 남은 에포크에서만 만듭니다 (학습할 때의 training.keep_last, crossover.average_last)",
        "⚠️ The last {wanted} epochs are to be averaged, and for room on the disk only epoch {epochs} of them stayed whole: the "
        "average is of these, and the soup too of whole epochs only (training.keep_last and crossover.average_last of the training)",
    ),
    "crossover.last_thinned": (
        "⚠️ 에포크 {epochs}은(는) 디스크 공간 때문에 모듈 일부만 남았고 그 뒤의 온전한 에포크는 없습니다. 여기서 마지막 에포크는 "
        "{last}입니다",
        "⚠️ Of epoch {epochs} not all modules are left, for room on the disk, and no later one is whole: the last epoch is epoch "
        "{last} here",
    ),
    "crossover.sentence": ("🔀 {sentence}", "🔀 {sentence}"),
    "crossover.saved": (
        "💾 크로스오버 저장: {path}; 사용할 모델: {best}",
        "💾 Crossover saved: {path}; the model to use: {best}",
    ),
    "crossover.name_last": ("마지막 에포크", "last epoch"),
    "crossover.name_start": ("학습 전 출발점", "start, before training"),
    "crossover.name_best_epoch": ("최고 단일 에포크", "best single epoch"),
    "crossover.name_average": ("마지막 에포크들의 평균", "average of the last epochs"),
    "crossover.name_soup": ("탐욕적 수프", "greedy soup"),
    "crossover.name_crossover": ("모듈별 크로스오버", "module-by-module crossover"),
    "crossover.name_random": ("무작위 크로스오버 {number}", "random crossover {number}"),
    "crossover.outcome_clear": (
        "승자: {name}. 결정을 내리는 judge 상황 {count}개에서 손실이 마지막 에포크보다 {gap} 낮습니다 (경쟁 모델 "
        "{contenders}개 중에서 고른 것을 감안해 넓힌 {confidence}% 구간 {low} ~ {high}, 재표본의 {probability}%에서 더 "
        "좋음).",
        "{name} wins: on the {count} situations that decide (judge) its loss is {gap} lower than the last epoch's "
        "({confidence} % interval {low} to {high}, widened for {contenders} contenders; better in {probability} % of "
        "resamples).",
    ),
    "crossover.outcome_unclear": (
        "뚜렷한 승자 없음: judge 상황 {count}개에서 {name}의 손실이 가장 낮지만, 마지막 에포크와의 차이({gap})는 "
        "잡음 범위 안입니다 (경쟁 모델 {contenders}개 중에서 고른 것을 감안해 넓힌 {confidence}% 구간 {low} ~ {high}, "
        "재표본의 {probability}%에서 더 좋음). judge가 선호하여 전달되지만 우수함이 입증된 것은 아닙니다.",
        "No clear winner: on the {count} situations that decide (judge) {name} has the lowest loss, but its lead "
        "of {gap} over the last epoch is within noise ({confidence} % interval {low} to {high}, widened for "
        "{contenders} contenders; better in {probability} % of resamples). It is delivered because judge preferred it, not "
        "because it was shown to be better.",
    ),
    "crossover.outcome_last_clear": (
        "승자: {name}. judge 상황 {count}개에서 어떤 조합도 이를 이기지 못합니다. 가장 가까운 {runner}의 손실이 "
        "{gap} 더 높습니다 (경쟁 모델 {contenders}개 중에서 고른 것을 감안해 넓힌 {confidence}% 구간 {low} ~ {high}, "
        "재표본의 {probability}%에서 더 좋음).",
        "{name} wins: on the {count} situations that decide (judge) nothing that was combined beats it. The "
        "closest, {runner}, has a loss {gap} higher ({confidence} % interval {low} to {high}, widened for {contenders} "
        "contenders; better in {probability} % of resamples).",
    ),
    "crossover.outcome_last_unclear": (
        "뚜렷한 승자 없음: judge 상황 {count}개에서 {name}의 손실이 가장 낮으며, 조합은 도움이 되지 않았습니다. "
        "가장 가까운 {runner}와(과)의 차이({gap})는 잡음 범위 안입니다 (경쟁 모델 {contenders}개 중에서 고른 것을 감안해 "
        "넓힌 {confidence}% 구간 {low} ~ {high}, 재표본의 {probability}%에서 더 좋음).",
        "No clear winner: on the {count} situations that decide (judge) the {name} has the lowest loss, so "
        "combining did not help; but the closest, {runner}, is only {gap} higher, which is within noise "
        "({confidence} % interval {low} to {high}, widened for {contenders} contenders; better in {probability} % of "
        "resamples).",
    ),
    "crossover.outcome_last_other": (
        "뚜렷한 승자 없음: judge 상황 {count}개에서 {name}의 손실이 가장 낮으며, 조합은 도움이 되지 않았습니다. "
        "가장 가까운 {runner}은(는) 분명히 더 나쁘지만(손실이 {gap} 더 높음, 경쟁 모델 {contenders}개에 맞추어 넓힌 "
        "{confidence}% 구간 {low} ~ {high}, 재표본의 {probability}%에서 더 좋음), 손실이 더 높은 {other}와(과)의 "
        "차이({other_gap})는 잡음 범위 안입니다 ({confidence}% 구간 {other_low} ~ {other_high}).",
        "No clear winner: on the {count} situations that decide (judge) the {name} has the lowest loss, so "
        "combining did not help. The closest, {runner}, is clearly worse (its loss is {gap} higher, {confidence} % "
        "interval {low} to {high}, widened for {contenders} contenders; better in {probability} % of resamples); but "
        "{other}, with a higher loss still, can't be told from the last epoch: the difference of {other_gap} is within "
        "noise ({confidence} % interval {other_low} to {other_high}).",
    ),
    "crossover.outcome_at_odds": (
        "뚜렷한 승자 없음: judge 상황 {count}개에서 {name}의 손실이 가장 낮지만, 모든 구간이 이를 뒷받침하지는 "
        "않습니다: {runner}의 손실에서 마지막 에포크의 손실을 뺀 값의 구간은 {low} ~ {high}입니다 ({confidence}%, 경쟁 "
        "모델 {contenders}개에 맞추어 넓힘, 재표본의 {probability}%에서 더 좋음).",
        "No clear winner: on the {count} situations that decide (judge) {name} has the lowest loss, but not all "
        "intervals bear it out: that of {runner} less the last epoch is {low} to {high} ({confidence} %, widened for "
        "{contenders} contenders; better in {probability} % of resamples).",
    ),
    "crossover.outcome_bare": (
        "뚜렷한 승자 없음: judge 상황 {count}개에서 {name}의 손실이 가장 낮지만, 구간을 계산할 수 없습니다.",
        "No clear winner: on the {count} situations that decide (judge) {name} has the lowest loss, but no "
        "interval could be computed.",
    ),
    "crossover.outcome_dry_run": (
        "시험 실행: 가중치가 바뀌지 않았으므로 선택할 것도 승자도 없습니다. crossover_final.pth와 best_model에는 "
        "마지막 에포크의 가중치가 들어 있습니다.",
        "Dry run: the weights did not change, so there is nothing to choose and no winner. crossover_final.pth and "
        "best_model hold the last epoch's weights.",
    ),
    "crossover.outcome_unchanged": (
        "학습 중 가중치가 바뀌지 않았으므로 선택할 것도 승자도 없습니다. crossover_final.pth와 best_model에는 "
        "마지막 에포크의 가중치가 들어 있습니다.",
        "The weights did not change in training, so there is nothing to choose and no winner. crossover_final.pth "
        "and best_model hold the last epoch's weights.",
    ),
    "crossover.outcome_one_epoch": (
        "에포크가 하나뿐이라 모든 후보가 그 에포크와 동일합니다. 비교할 것도 승자도 없습니다.",
        "There is only one epoch, so all candidates are that epoch: nothing to compare and no winner.",
    ),
    "crossover.outcome_identical": (
        "모든 후보가 마지막 에포크와 같은 가중치입니다. 비교할 것도 승자도 없습니다.",
        "All candidates have the last epoch's weights: nothing to compare and no winner.",
    ),
    "crossover.outcome_not_finite": (
        "어떤 후보도 유한한 손실을 내지 못했습니다. 승자가 없으며 마지막 에포크가 전달됩니다.",
        "No candidate gives a finite loss: there is no winner, and the last epoch is delivered.",
    ),
    "crossover.test_lower": (
        "아무것도 결정하지 않는 test 분할({count}개)에서는 {name}이(가) 마지막 에포크보다 낫습니다: 차이 {mean} "
        "({confidence}% 구간 {low} ~ {high}).",
        "On the test split ({count} situations), which decided nothing, {name} is better than the last epoch: "
        "{mean} ({confidence} % interval {low} to {high}).",
    ),
    "crossover.test_higher": (
        "아무것도 결정하지 않는 test 분할({count}개)에서는 {name}이(가) 마지막 에포크보다 나쁩니다: 차이 {mean} "
        "({confidence}% 구간 {low} ~ {high}).",
        "On the test split ({count} situations), which decided nothing, {name} is worse than the last epoch: "
        "{mean} ({confidence} % interval {low} to {high}).",
    ),
    "crossover.test_noise": (
        "아무것도 결정하지 않는 test 분할({count}개)에서 {name}와(과) 마지막 에포크의 차이 {mean}은(는) 잡음 범위 "
        "안입니다 ({confidence}% 구간 {low} ~ {high}).",
        "On the test split ({count} situations), which decided nothing, the difference between {name} and the last "
        "epoch, {mean}, is within noise ({confidence} % interval {low} to {high}).",
    ),
    "crossover.start_delivered": (
        "전달되는 모델은 학습 전 출발점, 곧 닫힌 해입니다. 전달할 수 있는 학습된 후보 중 judge에서 이보다 손실이 낮은 것이 없었습니다.",
        "What is delivered is the start: a solution in closed form, before any training. No trained model that could "
        "be delivered instead has a lower loss on judge.",
    ),
    "crossover.training_lower": (
        "마지막 에포크까지의 학습은 모델을 더 나쁘게 했습니다: judge에서 학습 전 출발점의 손실이 마지막 에포크보다 낮습니다 "
        "(차이 {mean}, 경쟁 모델 {contenders}개에 맞추어 넓힌 {confidence}% 구간 {low} ~ {high}).",
        "By its last epoch training had made the model worse: on judge the start, before training, has a lower loss "
        "than the last epoch ({mean}, {confidence} % interval {low} to {high}, widened for {contenders} contenders).",
    ),
    "crossover.training_higher": (
        "마지막 에포크까지의 학습은 도움이 되었습니다: judge에서 학습 전 출발점의 손실이 마지막 에포크보다 높습니다 "
        "(차이 {mean}, 경쟁 모델 {contenders}개에 맞추어 넓힌 {confidence}% 구간 {low} ~ {high}).",
        "By its last epoch training had helped: on judge the start, before training, has a higher loss than the last "
        "epoch ({mean}, {confidence} % interval {low} to {high}, widened for {contenders} contenders).",
    ),
    "crossover.training_noise": (
        "마지막 에포크까지의 학습이 도움이 되었다는 것은 입증되지 않았습니다: judge에서 학습 전 출발점은 마지막 에포크와 "
        "구별되지 않습니다 (손실 차이 {mean}, 경쟁 모델 {contenders}개에 맞추어 넓힌 {confidence}% 구간 {low} ~ {high}).",
        "That training had helped by its last epoch is not shown: on judge the start, before training, can't be told "
        "from it (difference in loss {mean}, {confidence} % interval {low} to {high}, widened for {contenders} contenders).",
    ),
    "crossover.itself_lower": (
        "모듈별 크로스오버 자체는 judge에서 마지막 에포크보다 낫습니다: 손실 차이 {mean} (경쟁 모델 {contenders}개에 "
        "맞추어 넓힌 {confidence}% 구간 {low} ~ {high}).",
        "The module-by-module crossover itself is better than the last epoch on judge: loss difference {mean} "
        "({confidence} % interval {low} to {high}, widened for {contenders} contenders).",
    ),
    "crossover.itself_higher": (
        "모듈별 크로스오버 자체는 judge에서 마지막 에포크보다 나쁩니다: 손실 차이 {mean} (경쟁 모델 {contenders}개에 "
        "맞추어 넓힌 {confidence}% 구간 {low} ~ {high}).",
        "The module-by-module crossover itself is worse than the last epoch on judge: loss difference {mean} "
        "({confidence} % interval {low} to {high}, widened for {contenders} contenders).",
    ),
    "crossover.itself_noise": (
        "모듈별 크로스오버 자체는 judge에서 마지막 에포크와 구별되지 않습니다: 손실 차이 {mean} (경쟁 모델 {contenders}개에 "
        "맞추어 넓힌 {confidence}% 구간 {low} ~ {high}).",
        "The module-by-module crossover itself can't be told from the last epoch on judge: loss difference {mean} "
        "({confidence} % interval {low} to {high}, widened for {contenders} contenders).",
    ),
    "crossover.controls": (
        "무작위로 고른 에포크의 크로스오버 {controls}개 중 {better}개가 judge에서 분석이 고른 크로스오버보다 "
        "손실이 낮습니다.",
        "Of {controls} crossovers of randomly chosen epochs, {better} have a lower loss on judge than the chosen one.",
    ),
    "crossover.left_out": (
        "학습이나 선택에 쓰인 뒤 텍스트가 수정되어 제외된 상황: {counts}.",
        "Left out, because the run was made with them before their texts were edited: {counts}.",
    ),
}
