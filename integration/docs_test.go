package integration

import (
	"go/ast"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// ownErrors are the texts of the errors that the data plane and the authentication make themselves: the literal first
// part where the rest is put together.
func ownErrors(t *testing.T) map[string]string {
	t.Helper()
	_, files := sources(t)
	texts := map[string]string{}
	literal := func(e ast.Expr) (string, bool) {
		if b, ok := e.(*ast.BinaryExpr); ok {
			e = b.X
		}
		if c, ok := e.(*ast.CallExpr); ok && len(c.Args) > 0 { // fmt.Sprintf
			e = c.Args[0]
		}
		l, ok := e.(*ast.BasicLit)
		if !ok || l.Kind != token.STRING {
			return "", false
		}
		s, err := strconv.Unquote(l.Value)
		s, _, _ = strings.Cut(s, "%")
		return strings.TrimRight(s, ` "':`), err == nil && s != ""
	}
	for _, f := range files {
		if f.test || f.dir != "pooler" && f.dir != "internal/auth" {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				name, ok := n.Fun.(*ast.Ident)
				if !ok || len(n.Args) == 0 {
					return true
				}
				arg := map[string]int{"fatal": 1, "errProtocol": 0, "consoleError": 0, "errTimeout": 0}
				if i, ok := arg[name.Name]; ok && i < len(n.Args) {
					if s, ok := literal(n.Args[i]); ok {
						texts[s] = path.Base(f.path)
					}
				}
			case *ast.CompositeLit:
				name, ok := n.Type.(*ast.Ident)
				if !ok || name.Name != "Error" {
					return true
				}
				for _, e := range n.Elts {
					kv, ok := e.(*ast.KeyValueExpr)
					if !ok {
						continue
					}
					if k, ok := kv.Key.(*ast.Ident); ok && k.Name == "Message" {
						if s, ok := literal(kv.Value); ok {
							texts[s] = path.Base(f.path)
						}
					}
				}
			}
			return true
		})
	}
	return texts
}

func TestEveryErrorOfOurOwnIsDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(moduleRoot(t), "docs", "errors.md"))
	if err != nil {
		t.Fatal(err)
	}
	texts := ownErrors(t)
	if len(texts) < 40 {
		t.Fatalf("found only %d errors in the source", len(texts))
	}
	for text, file := range texts {
		if !strings.Contains(string(page), text) {
			t.Errorf("docs/errors.md does not have %q (%s)", text, file)
		}
	}
}

var markdownLink = regexp.MustCompile(`\]\(([^)#:]+)\)`)

func TestLinksInDocumentsLeadSomewhere(t *testing.T) {
	t.Parallel()
	root := moduleRoot(t)
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range markdownLink.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: %v", filepath.Base(page), err)
			}
		}
	}
}
