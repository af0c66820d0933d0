#!/usr/bin/env python3
"""Collects the blocks of this folder from packages that carry them; README.md says which, and with which digests.

    collect.py PACKAGES

PACKAGES is a folder with the unpacked crates nakamoto-test-0.4.0, bitcoinkernel-0.3.2 and libbitcoinkernel-sys-0.4.1 and the unpacked npm
package bitcore-lib 11.5.1 as `package`. What is written is checked where it can be: each block against its hash, blocks 9 and 170 of the
main chain against the Merkle roots of their headers.
"""
import hashlib
import json
import struct
import sys
from pathlib import Path

HERE = Path(__file__).parent
COIN = 100_000_000


def twice(data):
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        self.at += count
        assert self.at <= len(self.data)
        return self.data[self.at - count : self.at]

    def number(self, width):
        return int.from_bytes(self.take(width), "little")

    def length(self):
        first = self.number(1)
        return self.number({0xFD: 2, 0xFE: 4, 0xFF: 8}[first]) if first >= 0xFD else first

    def bytes(self):
        return self.take(self.length())


def read_transaction(reader):
    """A transaction as ([(point, script, witness)], [(value, script)], id)."""
    version = reader.take(4)
    start = reader.at
    count = reader.length()
    witness = count == 0
    if witness:
        assert reader.number(1) == 1
        start = reader.at
        count = reader.length()
    inputs = []
    for _ in range(count):
        inputs.append([reader.take(36), reader.bytes(), []])
        reader.take(4)
    outputs = [(reader.number(8), reader.bytes()) for _ in range(reader.length())]
    middle = reader.data[start : reader.at]
    if witness:
        for entry in inputs:
            entry[2] = [reader.bytes() for _ in range(reader.length())]
    return inputs, outputs, twice(version + middle + reader.take(4))


def read_block(data):
    reader = Reader(data)
    reader.take(80)
    transactions = [read_transaction(reader) for _ in range(reader.length())]
    assert reader.at == len(data)
    return transactions


def merkle_root(level):
    while len(level) > 1:
        level = [twice(level[n] + level[min(n + 1, len(level) - 1)]) for n in range(0, len(level), 2)]
    return level[0]


def block(network, height, data, spends=(), transactions=()):
    return {
        "network": network,
        "height": height,
        "hash": twice(data[:80])[::-1].hex(),
        "block": data.hex(),
        "spends": list(spends),
        "transactions": list(transactions),
    }


def spend(point, script, value=None):
    return {"id": point[:32][::-1].hex(), "index": struct.unpack("<I", point[32:])[0], "value": value, "script": script.hex()}


def coinbase(script, key):
    return bytes.fromhex(
        "01000000" "01" + "00" * 32 + "ffffffff" f"{len(script) // 2:02x}" + script + "ffffffff" "01" "00f2052a01000000" "43" "41" + key + "ac" "00000000"
    )


# The first payment between two people, in block 170, and the two coinbases that it takes to have blocks 9 and 170. Printed in many places;
# what proves them is that they come to the Merkle roots of headers 9 and 170.
FIRST_KEY = (
    "0411db93e1dcdb8a016b49840f8c53bc1eb68a382e97b1482ecad7b148a6909a5cb2e0eaddfb84ccf9744464f82e160bfa9b8b64f9d4c03f999b8643f656b412a3"
)
COINBASE_170_KEY = (
    "04d46c4968bde02899d2aa0963367c7a6ce34eec332b32e42e5f3407e052d64ac625da6f0718e7b302140434bd725706957c092db53805b821a85b23a7ac61725b"
)
FIRST_PAYMENT = bytes.fromhex(
    "0100000001c997a5e56e104102fa209c6a852dd90660a20b2d9c352423edce25857fcd3704000000004847304402204e45e16932b8af514961a1d3a1a25fdf3f4f7732"
    "e9d624c6c61548ab5fb8cd410220181522ec8eca07de4860a4acdd12909d831cc56cbbac4622082221a8768d1d0901ffffffff0200ca9a3b00000000434104ae1a62fe"
    "09c5f51b13905f07f06b99a2f7159b2225f374cd378d71302fa28414e7aab37397f554a7df5f142c21c1b7303b8a0626f1baded5c72a704f7e6cd84cac00286bee0000"
    "0000434104" + FIRST_KEY[2:] + "ac00000000"
)
GENESIS_TEXT = b"The Times 03/Jan/2009 Chancellor on brink of second bailout for banks".hex()
GENESIS_KEY = (
    "04678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5f"
)


def main_chain(packages):
    """The first 1,112 headers, and blocks 0, 9 and 170."""
    genesis_coinbase = coinbase("04ffff001d0104" "45" + GENESIS_TEXT, GENESIS_KEY)
    genesis = bytes.fromhex("01000000" + "00" * 32) + twice(genesis_coinbase) + struct.pack("<III", 1231006505, 0x1D00FFFF, 2083236893)
    headers = genesis + (packages / "nakamoto-test-0.4.0/data/headers.bin").read_bytes()
    (HERE / "main-headers.bin").write_bytes(headers)
    payment = coinbase("04ffff001d0134", FIRST_KEY)
    blocks = []
    for height, transactions in [(0, [genesis_coinbase]), (9, [payment]), (170, [coinbase("04ffff001d0102", COINBASE_170_KEY), FIRST_PAYMENT])]:
        header = headers[80 * height : 80 * height + 80]
        root = merkle_root([twice(transaction) for transaction in transactions])
        assert root == header[36:68], f"block {height} is not as its header says"
        spends = [payment.hex()] if height == 170 else []
        blocks.append(block("Main", height, header + bytes([len(transactions)]) + b"".join(transactions), transactions=spends))
    return blocks


def test_chain(packages):
    """The test chain's blocks of the vectors of BIP158, which have the scripts that are spent, and no values."""
    blocks = []
    vectors = json.loads((packages / "libbitcoinkernel-sys-0.4.1/bitcoin/src/test/data/blockfilters.json").read_text())
    for height, name, data, scripts, *_ in vectors[1:]:
        data, scripts = bytes.fromhex(data), [bytes.fromhex(script) for script in scripts]
        transactions = read_block(data)
        assert twice(data[:80])[::-1].hex() == name
        made = {}
        spends = []
        for inputs, outputs, identity in transactions:
            for point, _, _ in inputs:
                if point[:32] != bytes(32):
                    script = scripts.pop(0)
                    if point not in made:
                        spends.append(spend(point, script))
            for index, output in enumerate(outputs):
                made[identity + struct.pack("<I", index)] = output
        assert not scripts
        if height == 926485:
            # Its one input with a witness signs its value. The fee was found by trying all that the block's fees, 51,300 satoshi, have room
            # for: it is the only one under which the signatures verify.
            spends[0]["value"] = transactions[1][1][0][0] + 21_300
        if height == 1263442:
            # The one input with a witness signs its value: the one output and the fee, which is what the coinbase takes over the new
            # money. With another value its signatures do not verify.
            spends[0]["value"] = transactions[1][1][0][0] + sum(value for value, _ in transactions[0][1]) - 50 * COIN // 64
        blocks.append(block("Test", height, data, spends))
    return blocks


def regtest_chain(packages):
    """206 blocks of a chain that Bitcoin Core made, from the first on, so that nothing that they spend is missing."""
    lines = (packages / "bitcoinkernel-0.3.2/tests/block_data.txt").read_text().split()
    blocks = [bytes.fromhex(line) for line in lines]
    # All chains begin with the same transaction.
    first = (HERE / "main-headers.bin").read_bytes()[:68] + struct.pack("<III", 1296688602, 0x207FFFFF, 2)
    (HERE / "regtest-headers.bin").write_bytes(first + b"".join(data[:80] for data in blocks))
    return [block("Regtest", height, data) for height, data in enumerate(blocks, 1)]


def script_assets(packages):
    """Some of Bitcoin Core's thousands of random spends: those of key paths, and short ones from before taproot."""

    def takes_key_path(side):
        witness = side["witness"]
        return len(witness) <= 1 or len(witness) == 2 and witness[-1].startswith("50")

    chosen, seen = [], {}
    for entry in json.loads((packages / "package/test/data/bitcoind/script_assets_test.json").read_text()):
        spent = entry["prevouts"][entry["index"]][16:]
        sides = [entry[side] for side in ("success", "failure") if side in entry]
        is_key = spent.startswith("225120") and "TAPROOT" in entry["flags"] and all(map(takes_key_path, sides))
        is_old = "TAPROOT" not in entry["flags"] and not spent.startswith("225120") and len(json.dumps(entry)) < 2000
        kind = (entry["comment"], is_key)
        if (is_key or is_old) and seen.get(kind, 0) < (2 if is_key else 1):
            seen[kind] = seen.get(kind, 0) + 1
            chosen.append(entry)
    return chosen


def main():
    packages = Path(sys.argv[1])
    blocks = main_chain(packages) + test_chain(packages) + regtest_chain(packages)
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in blocks)
    (HERE / "blocks.json").write_text(f"[\n{lines}\n]\n")
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in script_assets(packages))
    (HERE / "core/script_assets.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
