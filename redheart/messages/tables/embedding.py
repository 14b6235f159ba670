"""Messages of the stage ``embedding``: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {
    "embedding.status": ("📊 임베딩 상태:", "📊 Embedding status:"),
    "embedding.total": ("  - 전체: {count}", "  - total: {count}"),
    "embedding.there": ("  - 임베딩 있음: {count} ({percent}%)", "  - embedded: {count} ({percent}%)"),
    "embedding.missing": ("  - 임베딩 없음: {count} ({percent}%)", "  - missing: {count} ({percent}%)"),
    "embedding.saved": ("✅ 임베딩이 저장되었습니다", "✅ Embeddings saved"),
    "embedding.saved_where": ("  - 파일: {path}", "  - file: {path}"),
    "embedding.downloading": (
        "⬇️ 임베딩 모델이 이 컴퓨터에 없어 허브에서 내려받습니다: {model}",
        "⬇️ The embedding model is not on this machine: fetching {model} from the hub",
    ),
    "embedding.waiting": (
        "⏳ 다른 프로세스가 임베딩 중입니다. 기다립니다: {path}",
        "⏳ Another process is embedding; waiting for it: {path}",
    ),
    "embedding.model_not_here": (
        "⚠️ 임베딩 모델 {model}이(가) 이 컴퓨터에 없지만, 모든 항목의 임베딩이 이미 있어 그대로 사용합니다",
        "⚠️ The embedding model {model} is not on this machine; all items have its vectors already, which are used",
    ),
    "embedding.smaller_batches": (
        "⚠️ 임베딩 중 메모리 부족: 한 번에 {size}개 조각으로 줄입니다",
        "⚠️ Out of memory while embedding: going on with {size} segments at a time",
    ),
    "embedding.torn_tail": (
        "⚠️ {path}: 중단된 실행이 남긴 불완전한 끝부분({bytes} 바이트)을 잘라냈습니다. 그 항목만 다시 임베딩합니다",
        "⚠️ {path}: cut off the unfinished end of an interrupted run ({bytes} bytes); only its items are embedded again",
    ),
    "embedding.lost_vectors": (
        "⚠️ {path}: {count}개 항목의 벡터가 없거나 손상되었습니다. 데이터에 있는 항목은 다시 임베딩합니다",
        "⚠️ {path}: the vectors of {count} items are missing or damaged; those of the dataset's items are embedded again",
    ),
    "embedding.older_vectors": (
        "⚠️ {path}: {count}개 항목의 임베딩이 이전 형식입니다. 제목·행위·글 전체 조각이 없을 수 있습니다. "
        "필요하면 다시 임베딩하세요 (redheart embed --data {typed} --anew)",
        "⚠️ {path}: the vectors of {count} items are in an older form, perhaps without segments for title, action and whole text; "
        "redheart embed --data {typed} --anew makes them",
    ),
    "embedding.older_file_kept": (
        "⚠️ {path}: 이전 형식의 임베딩 파일을 {kept}(으)로 옮겨 보관했습니다",
        "⚠️ {path}: held vectors in an older form; kept as {kept}",
    ),
    "embedding.facts_made_again": (
        "ℹ️ {path}: 저장된 데이터 요약이 지금의 데이터와 맞지 않아 다시 만듭니다 ({why})",
        "ℹ️ {path}: what was stored about the dataset does not fit it as it is now and is made again ({why})",
    ),
    "embedding.facts_not_stored": (
        "⚠️ {path}: 데이터 요약을 저장하지 못했습니다. 다음 실행은 데이터를 다시 읽습니다 ({error})",
        "⚠️ {path}: what follows from the dataset could not be stored; the next run reads the dataset again ({error})",
    ),
    "embedding.prompt_missing": (
        "⚠️ 임베딩 모델 {model}은(는) 모든 글 앞에 {prompt!r}이(가) 붙은 글로 학습되었습니다. 붙이지 않으면 임베딩 품질이 떨어집니다: "
        'embedding.prompt="{prompt}"',
        "⚠️ The encoder {model} was trained with {prompt!r} before every text, and its vectors are worse without: "
        'embedding.prompt="{prompt}"',
    ),
    "embedding.language_unread": (
        "⚠️ 임베딩 모델 {model}은(는) 살펴본 상황 {looked}개 중 {count}개({percent}%)의 언어를 읽지 못합니다 (첫 항목: {id}). 토크나이저가 "
        "낱글자나 모르는 조각으로 잘라, 그 글에 대한 학습과 예측은 의미가 없습니다. 다국어 모델을 embedding.model로 지정하세요: {names}",
        "⚠️ The encoder {model} can't read the language of {count} of {looked} stories looked at ({percent} %; first: {id}): its tokenizer "
        "cuts them into single letters or unknown pieces, so what is trained and predicted on them means nothing. Name a multilingual "
        "encoder as embedding.model: {names}",
    ),
    "embedding.language_not_looked_at": (
        "ℹ️ 임베딩 모델 {model}이(가) 이 컴퓨터에 없어 데이터의 언어를 읽을 수 있는지 확인하지 못했습니다. redheart embed가 알려 줍니다",
        "ℹ️ The encoder {model} is not on this machine, so whether it reads the dataset's language could not be looked at; "
        "redheart embed tells",
    ),
}
