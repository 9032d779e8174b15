/** Whatever goes wrong while a template is read or runs, in the words of Python or of Jinja. */
export class TemplateFault extends Error {}
/** Content parts in a place where the template takes text. */
export class PartsFault extends TemplateFault {}
