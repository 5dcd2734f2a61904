"""Made-up texts for the renderer's benchmarks: the same on every machine, no files to fetch."""

from __future__ import annotations

import random

_ONSETS = (
    "",
    "b",
    "c",
    "d",
    "f",
    "g",
    "h",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "t",
    "v",
    "w",
    "st",
    "tr",
)
_VOWELS = ("a", "e", "i", "o", "u", "ea", "ou", "io")
_ENDS = ("", "", "n", "r", "s", "t", "d", "l", "ng", "nt", "st", "ck")
_COMMON = (  # noqa: SIM905
    "the of and to in a is that for it as was with be by on not he his but at are this have from or"
    " had an they which one you were all her she there would their we him been has when who will"
    " no more if out so up said what its about than into them can only other time new some could"
    " these two may first then do any like my now over such our man me even most made after also"
).split()


def english(num_chars: int, seed: int = 1) -> str:
    """Prose in paragraphs of 1 to 9 sentences, with numbers, names and a few headings."""
    rng = random.Random(seed)
    rare = ["".join(_word(rng) for _ in range(rng.choice((1, 2, 2, 3)))) for _ in range(4000)]
    weights = [1 / (rank + 3) for rank in range(len(rare))]
    out: list[str] = []
    size = 0
    while size < num_chars:
        if rng.random() < 0.08:
            paragraph = " ".join(rng.choices(rare, k=rng.randint(2, 6))).title()
        else:
            paragraph = " ".join(_sentence(rng, rare, weights) for _ in range(rng.randint(1, 9)))
        if rng.random() < 0.4:
            paragraph += "\n"
        out.append(paragraph)
        size += len(paragraph) + 1
    return "\n".join(out)[:num_chars]


def chinese(num_chars: int, seed: int = 1) -> str:
    """Paragraphs of the 3,755 common characters (GB 2312, level 1), some digits and Latin words."""
    rng = random.Random(seed)
    common = [
        bytes((row, cell)).decode("gb2312")
        for row in range(0xB0, 0xD8)
        for cell in range(0xA1, 0xFF)
        if not (row == 0xD7 and cell > 0xF9)
    ]
    rng.shuffle(common)
    weights = [1 / (rank + 20) for rank in range(len(common))]
    out: list[str] = []
    size = 0
    while size < num_chars:
        parts: list[str] = []
        for _ in range(rng.randint(1, 12)):
            parts += rng.choices(common, weights, k=rng.randint(4, 18))
            if rng.random() < 0.06:
                parts.append(rng.choice(("GPU", "2024", "3.5%", "Token", "API", "128")))
            parts.append(rng.choice("，，，。。；：！？"))
        out.append("".join(parts))
        size += len(out[-1]) + 1
    return "\n".join(out)[:num_chars]


def code(num_chars: int, seed: int = 1) -> str:
    """Something like a program: short lines, much indentation, many of them equal."""
    rng = random.Random(seed)
    names = ["_".join(_word(rng) for _ in range(rng.choice((1, 1, 2)))) for _ in range(600)]
    names = [name for name in names if name] + ["self", "value", "index"] * 30
    out: list[str] = []
    size = 0
    while size < num_chars:
        args = ", ".join(rng.choices(names, k=rng.randint(0, 4)))
        block = [f"def {rng.choice(names)}({args}):"]
        depth = 1
        for _ in range(rng.randint(2, 25)):
            one, two, three = rng.choices(names, k=3)
            kind = rng.random()
            pad = "    " * depth
            if kind < 0.15:
                block.append(f"{pad}if {one} {rng.choice(('==', '<', 'is not', 'in'))} {two}:")
                depth += 1
            elif kind < 0.25:
                block.append(f"{pad}for {one} in {two}:")
                depth += 1
            elif kind < 0.45:
                block.append(f"{pad}return {rng.choice(('None', 'True', one))}")
                depth = max(1, depth - 1)
            elif kind < 0.5:
                block.append("")
            else:
                block.append(
                    f"{pad}{one} = {two}.{three}({rng.choice(names)}, {rng.randint(0, 9)})"
                )
        block += ["", ""]
        out += block
        size += sum(len(line) + 1 for line in block)
    return "\n".join(out)[:num_chars]


def _word(rng: random.Random) -> str:
    return rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_ENDS)


def _sentence(rng: random.Random, rare: list[str], weights: list[float]) -> str:
    words = [
        rng.choice(_COMMON) if rng.random() < 0.45 else rng.choices(rare, weights)[0]
        for _ in range(rng.randint(4, 26))
    ]
    for index in range(len(words)):
        chance = rng.random()
        if chance < 0.03:
            words[index] = str(rng.randint(1, 99_999))
        elif chance < 0.05:
            words[index] = words[index].title()
        elif chance < 0.12:
            words[index] += ","
    text = " ".join(words).rstrip(",") + rng.choice("....?!;")
    return text[0].upper() + text[1:]


CHINESE_PROSE = """\
天刚亮，村口的老槐树下就聚了七八个人。王大爷拄着拐杖，慢慢地走过来，笑着问大家今年的麦子长得怎么样。\
没有人回答，大家都望着远处的那条河，还有河对岸的山。小李终于开口了，他说今年的收成比去年好得多，雨水\
来得及时，虫害也少。他掏出手机给大家看照片，一片金黄，一眼望不到边。
随着大型语言模型的发展，长文档问答成为一个重要的应用场景。传统方法需要把全部文本送入模型，计算量随着\
长度迅速增长；而视觉压缩把文字绘制成图像，再由视觉语言模型阅读，每一个图像单元可以容纳许多汉字。字号\
越小，压缩的比例就越高，但是识别的错误也会增加，因此使用者应当根据任务的要求选择合适的样式。
图书馆在城市的东边，是一座三层的旧楼。每到周末，孩子们就坐在窗边的长桌旁看书，老人们则喜欢在院子里\
读报纸。管理员姓陈，在这里工作了二十多年，她记得每一本书的位置，也记得许多读者的名字。冬天下雪的时候，\
她会早早地把炉子生好，让第一个进门的人觉得温暖。
合同自双方签字之日起生效，有效期为三年。甲方应当在每月十五日以前支付货款，逾期付款的，每日按照未付\
金额的千分之一支付违约金。乙方应当按照约定的时间、地点和数量交付货物，并对货物的质量负责。因不可抗力\
不能履行合同的一方，应当及时通知对方，并在合理的期限内提供证明。
"""
"""Natural Chinese: where a reader leans on its dictionary, made-up text says nothing."""
