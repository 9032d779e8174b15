import type { Target } from "../target.js";
export const tokenizers: Target = {
  name: "tokenizers",
  needs: "tokenizers",
  script: "tokenizers.py",
  cases: function* () {},
  compare: () => ({ agrees: true, what: "" }),
};
