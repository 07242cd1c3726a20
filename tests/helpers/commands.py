"""What tests of the command line ask of an answer."""


def refused(result, *words, code=2):
    """Whether the program said one line that holds the words, and nothing else."""
    status, out, err = result
    assert status == code, err
    assert out == ""
    assert err.endswith("\n")
    assert len(err.splitlines()) == 1, err
    assert err.startswith("kptalk: error: ")
    for word in words:
        assert word in err
    return True
