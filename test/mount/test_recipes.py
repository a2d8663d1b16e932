#!/usr/bin/python3
"""The recipes and the first screen of README.md, as they stand."""
import os
import re
import shutil

from harness import *

README = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'README.md')


def test_recipes():
    blocks = re.findall(r'```sh\n(.*?)```', read(README), re.S)
    assert len(blocks) >= 7
    with Mount() as m:
        for block in blocks:
            if 'node -e' in block and not shutil.which('node'):
                print('no node: left out')
                continue
            sh('set -e\n' + block.replace('/tmp/', m.folder + '/').replace('/mnt/buckets', m.point))


def test_first_screen():
    text = read(README)
    lines = text[text.index('    B='):].split('\n\n')[0]
    with Mount() as m:
        out = sh('set -e\n' + lines.replace('/tmp/', m.folder + '/').replace('/mnt/buckets', m.point))
        assert out == '4711\n', out
        assert os.listdir(m / 'nightly/files') == ['report_final_.txt']


def test_tables_name_every_option():
    text = read(README)
    options = subprocess.run([BINARY, '--help'], stdout=subprocess.PIPE, check=True).stdout.decode()
    for option in re.findall(r'-o ([a-z_]+)', options):
        assert f'`{option}' in text, option


if __name__ == '__main__':
    run(tests_of(__name__))
