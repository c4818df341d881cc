package pooler

import "testing"

func TestTextsThatDropStatementsAreFound(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"DEALLOCATE ALL": true, " \n discard all\x00\x00\x00": true, "select 1; Deallocate x": true, "/* a /* b */ */ discard plans": true,
		"-- x\nDISCARD TEMP": true, "select 'deallocate'": false, "": false, ";": false, "/*": false, "--": false, "/* /* */ discard all": false,
		"select 1 -- ; \n": false, "create table discard (a int)": false, "\x00discard": false, "dealloc": false,
	} {
		if got := dropsStatements([]byte(text)); got != want {
			t.Errorf("%q: got %t, want %t", text, got, want)
		}
	}
}

func TestDroppedNameIsWhatPostgreSQLReads(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"DEALLOCATE x": "x", "deallocate prepare x": "x", `Deallocate "X y"`: "X y", `DEALLOCATE PREPARE "_pg3_0" ; ;`: "_pg3_0", `deallocate"a""b"`: `a"b`,
		"/* a */ DEALLOCATE -- b\n Xä$1 /* /* c */ */;": "xä$1", "deallocate prepare": "prepare", "deallocate prepare;": "prepare", `deallocate "all"`: "all",
		"deallocate prepare prepare": "prepare", "DEALLOCATE ALL": "", "deallocate Prepare All": "", "deallocate": "", "deallocate ;": "", "deallocatex": "",
		"deallocate x y": "", "deallocate x; select 1": "", "deallocate 1x": "", `deallocate ""`: "", `deallocate "x`: "", `deallocate U&"x"`: "",
		`"deallocate" x`: "", "select 1": "", "": "", `deallocate "prepare" x`: "",
	} {
		if got := string(droppedName([]byte(text))); got != want {
			t.Errorf("%q\n got %q\nwant %q", text, got, want)
		}
	}
}
